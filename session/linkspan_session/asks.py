"""The requests that a session's handlers have put to the client and that wait for an answer.

The answer comes as a message of its own, posted by the client. The first answer counts; a second
one, or one to nothing, is dropped.
"""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from linkspan.session.v1.session_service_pb2 import HandleRequestResponse
from linkspan_contract.envelope import (
    INTERNAL_ERROR,
    JsonObject,
    RequestId,
    Response,
    is_request_id,
)
from linkspan_propagation import inject_into_fields
from linkspan_session.answers import (
    SESSION_ENDED,
    TIMED_OUT,
    UNDELIVERED,
    AskError,
    Failed,
    OnProgress,
)
from linkspan_session.events import notification_event, request_event

logger = logging.getLogger(__name__)
_tracer: Final = trace.get_tracer("linkspan.session")

_PREFIX_BYTES: Final = 6

Send = Callable[[HandleRequestResponse], Awaitable[bool]]
"""Writes an event towards the client; False if nobody reads."""


@dataclass(slots=True, eq=False)
class _Ask:
    answer: asyncio.Future[Response]
    on_progress: OnProgress | None
    traceparent: str = ""


class Asks:
    """What one session's handlers wait for. Ids are unique within the session."""

    def __init__(self) -> None:
        # Unique in every process that ever serves the session: an answer that was on its way while
        # a process died must not be taken for the answer to a later question.
        self._prefix = secrets.token_urlsafe(_PREFIX_BYTES)
        self._ids = itertools.count(1)
        self._waiting: dict[str, _Ask] = {}

    async def ask(
        self,
        send: Send,
        method: str,
        params: Mapping[str, Any] | None,
        *,
        timeout_seconds: float | None,
        on_progress: OnProgress | None,
    ) -> JsonObject:
        """Send a request to the client and wait for its answer; see `Outlet.ask`.

        Cancelling it forgets the request: a later answer is dropped.
        """
        request_id = f"{self._prefix}.{next(self._ids)}"
        ask = _Ask(asyncio.get_running_loop().create_future(), on_progress)
        self._waiting[request_id] = ask
        try:
            with _tracer.start_as_current_span(
                method,
                kind=SpanKind.CLIENT,
                attributes={"mcp.method.name": method, "jsonrpc.request.id": str(request_id)},
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    return await self._ask(ask, request_id, send, method, params, timeout_seconds)
                except AskError as error:
                    code = str(error.reason.code)
                    span.set_attributes({"error.type": code, "rpc.response.status_code": code})
                    span.set_status(StatusCode.ERROR)
                    raise
        finally:
            del self._waiting[request_id]

    def take(self, response: Response) -> str | None:
        """Hand a client's answer to whoever waits for it; one that nobody waits for is dropped.

        Returns:
            The W3C traceparent of the span that asked, empty if it has none; None if nobody asked.
        """
        ask = self._find(response.id)
        if ask is None or ask.answer.done():
            logger.info("dropped an answer to a request that nobody waits for")
            return None
        ask.answer.set_result(response)
        return ask.traceparent

    async def report(self, params: JsonObject | None) -> None:
        """Hand a client's `notifications/progress` to whoever asked for it."""
        report = params or {}
        token, progress = report.get("progressToken"), report.get("progress")
        if not is_request_id(token) or not isinstance(progress, int | float):
            return
        ask = self._find(token)
        if ask is not None and ask.on_progress is not None:
            total, message = report.get("total"), report.get("message")
            await ask.on_progress(
                progress,
                total if isinstance(total, int | float) else None,
                message if isinstance(message, str) else None,
            )

    def give_up(self) -> None:
        """End every wait: the session is over."""
        for request_id, ask in self._waiting.items():
            if not ask.answer.done():
                reason: JsonObject = {"code": SESSION_ENDED.code, "message": SESSION_ENDED.message}
                ask.answer.set_result(Response(request_id, None, reason))

    def _find(self, request_id: RequestId) -> _Ask | None:
        return self._waiting.get(str(request_id))

    @staticmethod
    async def _ask(
        ask: _Ask,
        request_id: RequestId,
        send: Send,
        method: str,
        params: Mapping[str, Any] | None,
        timeout_seconds: float | None,
    ) -> JsonObject:
        body: JsonObject = dict(params or {})
        fields = inject_into_fields()
        ask.traceparent = fields.get("traceparent", "")
        meta: JsonObject = {**(body.get("_meta") or {}), **fields}
        if ask.on_progress is not None:
            meta["progressToken"] = request_id
        if meta:
            body["_meta"] = meta
        try:
            async with asyncio.timeout(timeout_seconds):
                if not await send(request_event(request_id, method, body or None)):
                    raise AskError(UNDELIVERED)
                response = await ask.answer
        except TimeoutError:
            gone = {"requestId": request_id, "reason": TIMED_OUT.message}
            await send(notification_event("notifications/cancelled", gone))
            raise AskError(TIMED_OUT) from None
        if response.result is not None:
            return response.result
        raise AskError(_failed(response.error or {}))


def _failed(error: JsonObject) -> Failed:
    code, message = error.get("code"), error.get("message")
    return Failed(
        code if isinstance(code, int) else INTERNAL_ERROR,
        message if isinstance(message, str) else "The client answered with an error",
        error.get("data"),
    )
