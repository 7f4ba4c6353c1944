"""The user's server, ready to handle messages of any session.

Invariant: whatever a handler raises leaves here as an `Answer`; only the cancellation of the task
that runs it passes through.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, cast

from mcp.server.connection import Connection
from mcp.server.lowlevel import Server
from mcp.server.runner import ServerRunner, aclose_shielded, serve_one
from mcp.shared.inbound import (
    InboundLadderRejection,
    classify_inbound_request,
    validate_mcp_param_headers,
)
from mcp.shared.jsonrpc_dispatcher import (
    handler_exception_to_error_data,
)
from mcp_types import InitializeRequestParams
from mcp_types.jsonrpc import HEADER_MISMATCH

from linkspan_contract.envelope import INTERNAL_ERROR, JsonObject, Request
from linkspan_session.answers import (
    Answer,
    Failed,
    HeaderPairs,
    Outlet,
    Result,
)
from linkspan_session.errors import AppError
from linkspan_session.kernel.call import Call, Nowhere, SessionOutbound, nest
from linkspan_session.kernel.plain import METHOD as PLAIN_METHOD
from linkspan_session.kernel.plain import call_plainly, is_plain_call
from linkspan_session.store import Handshake, Preferences

logger = logging.getLogger(__name__)

_META: Final = "_meta"
_MAX_TOOL_PAGES: Final = 50
_RESTORE_SECONDS: Final = 5.0
"""How long the hosted server may take to hear all that a client had asked for."""


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
        return Connection.for_loop(SessionOutbound(outlet), session_id=session_id)

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

    async def restore(self, connection: Connection, preferences: Preferences) -> None:
        """Tell the server again what the client had asked of its connection before it slept.

        The level of logging and the subscriptions are the server's own affair: its handlers are
        asked for them anew. One that fails now, or takes too long, is logged.
        """
        if preferences.scratch_json:
            connection.state.update(json.loads(preferences.scratch_json))
        asked: list[tuple[str, JsonObject]] = [
            ("resources/subscribe", {"uri": uri}) for uri in preferences.subscriptions
        ]
        if preferences.log_level:
            asked.insert(0, ("logging/setLevel", {"level": preferences.log_level}))
        try:
            async with asyncio.timeout(_RESTORE_SECONDS):
                for method, params in asked:
                    await self._ask_again(connection, method, params)
        except TimeoutError:
            logger.warning("a session woke without all that its client had asked for: too slow")

    async def _ask_again(self, connection: Connection, method: str, params: JsonObject) -> None:
        call = Call(Nowhere(), request_id="restored", params=params, headers=())
        answer = await self.answer(connection, call, Request("restored", method, params))
        if isinstance(answer, Failed):
            logger.warning("%s was refused to a session that woke: %s", method, answer.message)

    async def tool(
        self, connection: Connection | None, request: Request, name: str
    ) -> JsonObject | None:
        """Return how the server describes a tool; None if it does not.

        Args:
            connection: The session's connection; None in MCP 2026-07-28.
            request: The request that names the tool, for its `_meta`.
            name: The tool's name.
        """
        cursor: object = None
        for _ in range(_MAX_TOOL_PAGES):
            params: JsonObject = {} if cursor is None else {"cursor": cursor}
            if connection is None and request.params is not None:
                params[_META] = request.params.get(_META)
            listing = Request("described", "tools/list", params)
            call = Call(Nowhere(), request_id=listing.id, params=params, headers=())
            if connection is None:
                answer = await self.answer_alone(call, listing)
            else:
                answer = await self.answer(connection, call, listing)
            if isinstance(answer, Failed):
                return None
            for tool in answer.value.get("tools", ()):
                if tool.get("name") == name:
                    return cast("JsonObject", tool)
            cursor = answer.value.get("nextCursor")
            if cursor is None:
                return None
        return None

    async def disconnect(self, connection: Connection) -> None:
        """Run what handlers left for the end of the session; bounded, never raises."""
        try:
            await aclose_shielded(connection)
        except BaseException as error:
            if _is_ours(error):
                raise
            logger.exception("what a handler left for the end of its session failed")

    async def answer(self, connection: Connection, call: Call, request: Request) -> Answer:
        """Handle a request of a session."""
        server, state, params = self._server, self._lifespan_state, request.params
        try:
            if (
                request.method == PLAIN_METHOD
                and params is not None
                and is_plain_call(server, connection, params)
            ):
                return Result(
                    await call_plainly(server, connection, state, call, nest(params) or params)
                )
            runner = ServerRunner(server, connection, state)
            return Result(await runner.on_request(call, request.method, nest(params)))
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
                nest(request.params),
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
        try:
            return validate_mcp_param_headers(
                schema, cast("JsonObject", arguments), _Unfolded(call.headers)
            )
        except ValueError:  # what the SDK makes of `=?base64?...?=` around what is not ASCII
            logger.debug("the headers of a tool's arguments cannot be read", exc_info=True)
            words = "an Mcp-Param header carries a malformed base64 sentinel value"
            return InboundLadderRejection(HEADER_MISMATCH, words)

    async def hear(
        self, connection: Connection, call: Call, method: str, params: JsonObject | None
    ) -> None:
        """Handle a notification of a session; what its handler raises is logged."""
        runner = ServerRunner(self._server, connection, self._lifespan_state)
        try:
            await runner.on_notify(call, method, nest(params))
        except BaseException as error:
            if _is_ours(error):
                raise
            logger.exception("the handler of %s failed", method)
        finally:
            call.close()


@asynccontextmanager
async def hosting(
    server: Server[Any], make: Callable[[Server[Any], object], HostedServer] = HostedServer
) -> AsyncGenerator[HostedServer]:
    """Enter the server's lifespan, once for all sessions, and leave it at the end.

    Args:
        server: The user's server.
        make: Makes what handles messages, of the server and its lifespan's state.

    Raises:
        AppError: The lifespan failed before it was entered.
    """
    async with AsyncExitStack() as stack:
        try:
            lifespan_state = await stack.enter_async_context(server.lifespan(server))
        except Exception as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise AppError(f"the lifespan of {server.name!r} failed: {what}") from error
        yield make(server, lifespan_state)


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
