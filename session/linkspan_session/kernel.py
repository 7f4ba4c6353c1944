"""The MCP SDK's kernel, driven without a transport: the one module that touches what may change.

Above lies `live`, which owns a session's calls; below lies the SDK, whose `ServerRunner` runs one
handler for one message. One server object serves all sessions; what differs between them is the
`Connection`. Pinned to the SDK's minor version, because `Connection`, `ServerRunner` and
`DispatchContext` may change in the next.

Invariant: whatever a handler raises leaves here as an `Answer`; only the cancellation of the task
that runs it passes through.
"""

import asyncio
import json
import logging
import sys
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, cast

import anyio
from mcp.server.connection import Connection
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import MCPServer
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.runner import ServerRunner, aclose_shielded, serve_one
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.inbound import (
    InboundLadderRejection,
    classify_inbound_request,
    validate_mcp_param_headers,
)
from mcp.shared.jsonrpc_dispatcher import (
    handler_exception_to_error_data,
    progress_token_from_params,
)
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types import InitializeRequestParams
from mcp_types.version import is_version_at_least
from opentelemetry.trace import get_current_span

from linkspan_contract.envelope import INTERNAL_ERROR, JsonObject, Request, RequestId
from linkspan_propagation import inject_into_fields
from linkspan_session.answers import Answer, AskError, Closing, Failed, HeaderPairs, Outlet, Result
from linkspan_session.errors import AppError
from linkspan_session.store import Handshake

logger = logging.getLogger(__name__)

_META: Final = "_meta"
_TRACE_FIELDS: Final = ("traceparent", "tracestate", "baggage")
"""The keys of `params._meta` that carry trace context, unprefixed (SEP-414)."""


class _SessionOutbound:
    """The SDK's `Outbound` for what a server says outside of any request."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> JsonObject:
        if not self._outlet.can_ask:
            raise NoBackChannelError(method)
        options = opts or {}
        try:
            return await self._outlet.ask(
                method,
                params,
                timeout_seconds=options.get("timeout"),
                on_progress=options.get("on_progress"),
            )
        except AskError as error:
            reason = error.reason
            raise MCPError(reason.code, reason.message, reason.data) from None

    async def notify(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,  # noqa: ARG002 - the SDK's signature
    ) -> None:
        await self._outlet.tell(method, params)


class Call(_SessionOutbound):
    """One message being handled: the SDK's `DispatchContext`, over an outlet of ours."""

    def __init__(
        self,
        outlet: Outlet,
        *,
        request_id: RequestId | None,
        params: Mapping[str, Any] | None,
        headers: HeaderPairs,
        closing: Closing | None = None,
    ) -> None:
        """Make the context of one message.

        Args:
            outlet: Where the handler speaks to the client.
            request_id: The request's id; None for a notification.
            params: The message's parameters.
            headers: The HTTP headers that came with it.
            closing: What the handler may do about its streams; None if they cannot be resumed.
        """
        super().__init__(outlet)
        self._request_id = request_id
        self._progress_token = progress_token_from_params(params)
        self._closed = False
        self._transport = TransportContext(
            kind="linkspan", can_send_request=outlet.can_ask, headers=dict(headers)
        )
        self.headers = headers
        self.message_metadata = ServerMessageMetadata(
            can_send_request=outlet.can_ask,
            close_sse_stream=closing.answer if closing else None,
            close_standalone_sse_stream=closing.listening if closing else None,
        )
        self.cancel_requested = anyio.Event()

    @property
    def transport(self) -> TransportContext:
        """What the handler may know of the wire."""
        return self._transport

    @property
    def request_id(self) -> RequestId | None:
        """The id of the request; None for a notification."""
        return self._request_id

    @property
    def can_send_request(self) -> bool:
        """Whether `send_raw_request` can work right now."""
        return not self._closed and self._outlet.can_ask

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> JsonObject:
        """Ask the client, on the stream of this call."""
        if self._closed:
            raise NoBackChannelError(method)
        return await super().send_raw_request(method, params, opts)

    async def notify(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,  # noqa: ARG002 - the SDK's signature
    ) -> None:
        """Tell the client, on the stream of this call; dropped once the call is over."""
        if not self._closed:
            await self._outlet.tell(method, params)

    async def progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Report progress, if the client gave a token for it."""
        if self._progress_token is None:
            return
        params: JsonObject = {"progressToken": self._progress_token, "progress": progress}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        await self.notify("notifications/progress", params)

    def close(self) -> None:
        """Say that the call is over: nothing more goes to the client in its name."""
        self._closed = True


class _Unfolded(dict[str, str]):
    """Headers as a mapping whose items still show every value, which is how the SDK counts them."""

    def __init__(self, pairs: HeaderPairs) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def items(self) -> Any:
        """Return all pairs, repeated names included."""
        return self._pairs


class HostedServer:
    """The user's server, ready to handle messages of any session."""

    def __init__(self, server: Server[Any], lifespan_state: object) -> None:
        self._server = server
        self._lifespan_state = lifespan_state

    @property
    def name(self) -> str:
        """The name that the server gives of itself."""
        return self._server.name

    def connect(self, session_id: str, outlet: Outlet) -> Connection:
        """Make the connection of a session that has not been initialized."""
        return Connection.for_loop(_SessionOutbound(outlet), session_id=session_id)

    def reconnect(self, session_id: str, outlet: Outlet, handshake: Handshake) -> Connection:
        """Make the connection of a session from what its handshake settled."""
        connection = self.connect(session_id, outlet)
        connection.client_params = InitializeRequestParams.model_validate_json(
            handshake.params_json, by_name=False
        )
        connection.protocol_version = handshake.protocol_version
        if handshake.initialized:
            connection.initialized.set()
        return connection

    async def disconnect(self, connection: Connection) -> None:
        """Run what handlers left for the end of the session; bounded, never raises."""
        await aclose_shielded(connection)

    async def answer(self, connection: Connection, call: Call, request: Request) -> Answer:
        """Handle a request of a session."""
        runner = ServerRunner(self._server, connection, self._lifespan_state)
        try:
            return Result(await runner.on_request(call, request.method, _nest(request.params)))
        except BaseException as error:
            if _is_ours(error):
                raise
            return _failed(error, request.method)
        finally:
            call.close()

    async def answer_alone(self, call: Call, request: Request) -> Answer:
        """Handle a request of MCP 2026-07-28, which says itself who its client is."""
        route = classify_inbound_request({"method": request.method, "params": request.params})
        if isinstance(route, InboundLadderRejection):
            return Failed(route.code, route.message, route.data)
        rejection = self._check_param_headers(call, request)
        if rejection is not None:
            return Failed(rejection.code, rejection.message, rejection.data)
        connection = Connection.from_envelope(
            route.protocol_version, route.client_info, route.client_capabilities
        )
        try:
            result = await serve_one(
                self._server,
                call,
                request.method,
                _nest(request.params),
                connection=connection,
                lifespan_state=self._lifespan_state,
            )
            return Result(result)
        except BaseException as error:
            if _is_ours(error):
                raise
            return _failed(error, request.method)
        finally:
            call.close()

    def _check_param_headers(self, call: Call, request: Request) -> InboundLadderRejection | None:
        """Compare `Mcp-Param-*` headers with the arguments that they mirror.

        A server that cannot tell a tool's schema without listing its tools is not checked.

        Source: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
        """
        schema_of = self._server.get_tool_input_schema
        params = request.params or {}
        name: object = params.get("name")
        arguments: object = params.get("arguments") or {}
        if request.method != "tools/call" or schema_of is None or not call.headers:
            return None  # without headers it did not come over HTTP
        if not isinstance(name, str) or not isinstance(arguments, dict):
            return None  # the SDK refuses it by its shape
        try:
            schema = schema_of(name)
        except Exception:
            logger.exception("the input schema of a tool cannot be had; its headers go unchecked")
            return None
        if schema is None:
            return None
        return validate_mcp_param_headers(
            schema, cast("JsonObject", arguments), _Unfolded(call.headers)
        )

    async def hear(
        self, connection: Connection, call: Call, method: str, params: JsonObject | None
    ) -> None:
        """Handle a notification of a session; what its handler raises is logged."""
        runner = ServerRunner(self._server, connection, self._lifespan_state)
        try:
            await runner.on_notify(call, method, _nest(params))
        except BaseException as error:
            if _is_ours(error):
                raise
            logger.exception("the handler of %s failed", method)
        finally:
            call.close()


@asynccontextmanager
async def hosting(server: Server[Any]) -> AsyncGenerator[HostedServer]:
    """Enter the server's lifespan, once for all sessions, and leave it at the end.

    Raises:
        AppError: The lifespan failed before it was entered.
    """
    async with AsyncExitStack() as stack:
        try:
            lifespan_state = await stack.enter_async_context(server.lifespan(server))
        except Exception as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise AppError(f"the lifespan of {server.name!r} failed: {what}") from error
        yield HostedServer(server, lifespan_state)


def handshake_of(connection: Connection) -> Handshake | None:
    """Return what `initialize` settled on a connection; None if it has not."""
    if connection.client_params is None:
        return None
    return Handshake(
        protocol_version=connection.protocol_version,
        params_json=connection.client_params.model_dump_json(by_alias=True, exclude_none=True),
        initialized=connection.initialized.is_set(),
    )


def client_of(handshake: Handshake) -> tuple[str, str]:
    """Return the name and the version that the client gave of itself."""
    info = cast("JsonObject", json.loads(handshake.params_json)).get("clientInfo", {})
    return str(info.get("name", "")), str(info.get("version", ""))


def has_priming_events(protocol_version: str) -> bool:
    """Tell whether clients of a version know streams that open with an event id (SEP-1699)."""
    return is_version_at_least(protocol_version, "2025-11-25")


def share_request_state_key(server: Server[Any], key: bytes) -> None:
    """Have `requestState` sealed with a key that other session servers have, too.

    Without it a server object seals with a key of its own process, and what one session server
    sealed no other can open. A server object that never seals is left alone.

    Args:
        server: The user's server.
        key: At least 32 bytes, secret.
    """
    middleware = server.middleware
    for index, each in enumerate(middleware):
        if isinstance(each, RequestStateBoundary):
            security = RequestStateSecurity(keys=[key])
            middleware[index] = RequestStateBoundary(security, default_audience=server.name)


def lowlevel_server(candidate: object) -> Server[Any] | None:
    """Return the server that an object is or wraps; None if it is no MCP server."""
    fastmcp = sys.modules.get("fastmcp")  # if the user has not imported it, it is not theirs
    found: object = None
    if isinstance(candidate, Server):
        found = cast("object", candidate)
    elif isinstance(candidate, MCPServer):
        found = getattr(cast("object", candidate), "_lowlevel_server")  # noqa: B009 - no other way
    elif fastmcp is not None and isinstance(candidate, fastmcp.FastMCP):
        found = getattr(candidate, "_mcp_server")  # noqa: B009 - no other way
    return cast("Server[Any] | None", found)


def _nest(params: JsonObject | None) -> JsonObject | None:
    """Put the current trace context where the SDK looks for its parent.

    The SDK's own span takes its parent from `params._meta`, which names the client's span; left
    alone it would stand beside ours instead of below it.
    """
    meta: object = None if params is None else params.get(_META)
    if params is None or not isinstance(meta, dict):
        return params
    if not get_current_span().get_span_context().is_valid:
        return params
    client_meta = cast("JsonObject", meta)
    nested = {key: value for key, value in client_meta.items() if key not in _TRACE_FIELDS}
    return {**params, _META: {**nested, **inject_into_fields()}}


def _is_ours(error: BaseException) -> bool:
    """Tell an end that was asked for from what user code raised, whatever that is.

    What is not ours must not get any further: one handler would end the process for all sessions.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, GeneratorExit)


def _failed(error: BaseException, method: str) -> Failed:
    known = handler_exception_to_error_data(error)
    if known is not None:
        return Failed(known.code, known.message, known.data)
    correlation_id = uuid.uuid4().hex
    logger.error(
        "the handler of %s raised; correlation id %s", method, correlation_id, exc_info=error
    )
    return Failed(INTERNAL_ERROR, "Internal server error", {"correlationId": correlation_id})
