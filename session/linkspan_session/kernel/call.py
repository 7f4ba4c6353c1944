"""One message as the SDK sees it: its context, and the way back to the client."""

from collections.abc import Mapping
from typing import Any, Final, cast

import anyio
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.jsonrpc_dispatcher import (
    progress_token_from_params,
)
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from opentelemetry.trace import get_current_span

from linkspan_contract.envelope import JsonObject, RequestId
from linkspan_propagation import inject_into_fields
from linkspan_session.answers import (
    UNDELIVERED,
    AskError,
    Closing,
    HeaderPairs,
    OnProgress,
    Outlet,
)

_META: Final = "_meta"
TRACE_FIELDS: Final = ("traceparent", "tracestate", "baggage")
"""The keys of `params._meta` that carry trace context, unprefixed (SEP-414)."""


class SessionOutbound:
    """The SDK's `Outbound` for what a server says outside of any request."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> JsonObject:
        """Ask the client; see `Outlet.ask`."""
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
        """Tell the client; see `Outlet.tell`."""
        await self._outlet.tell(method, params)


class Call(SessionOutbound):
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
        self._params = params
        self._closed = False
        self.headers = headers
        self.closing = closing
        self._cancel_requested: anyio.Event | None = None

    # What follows is made when it is asked for, which most handlers never do.

    @property
    def transport(self) -> TransportContext:
        """What the handler may know of the wire."""
        return TransportContext(
            kind="linkspan", can_send_request=self._outlet.can_ask, headers=dict(self.headers)
        )

    @property
    def message_metadata(self) -> ServerMessageMetadata:
        """What the SDK makes of the wire."""
        return ServerMessageMetadata(
            can_send_request=self._outlet.can_ask,
            close_sse_stream=self.closing.answer if self.closing else None,
            close_standalone_sse_stream=self.closing.listening if self.closing else None,
        )

    @property
    def cancel_requested(self) -> anyio.Event:
        """Set when the call is to stop."""
        if self._cancel_requested is None:
            self._cancel_requested = anyio.Event()
        return self._cancel_requested

    @property
    def request_id(self) -> RequestId | None:
        """The id of the request; None for a notification."""
        return self._request_id

    @property
    def is_own(self) -> bool:
        """Whether no client has made it, but Linkspan itself."""
        return isinstance(self._outlet, Nowhere)

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
        token = progress_token_from_params(self._params)
        if token is None:
            return
        params: JsonObject = {"progressToken": token, "progress": progress}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        await self.notify("notifications/progress", params)

    def close(self) -> None:
        """Say that the call is over: nothing more goes to the client in its name."""
        self._closed = True


class Nowhere:
    """The outlet of a request that no client has made."""

    can_ask = False

    async def tell(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Drop it."""

    async def ask(
        self,
        method: str,  # noqa: ARG002 - the protocol's signature
        params: Mapping[str, Any] | None,  # noqa: ARG002
        *,
        timeout_seconds: float | None,  # noqa: ARG002
        on_progress: OnProgress | None,  # noqa: ARG002
    ) -> JsonObject:
        """Say that nobody is there."""
        raise AskError(UNDELIVERED)


def nest(params: JsonObject | None) -> JsonObject | None:
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
    nested = {key: value for key, value in client_meta.items() if key not in TRACE_FIELDS}
    return {**params, _META: {**nested, **inject_into_fields()}}
