"""The server side for grpc.aio: one SERVER span for each RPC, and the caller's context inside it.

Owns the interceptor, and when an RPC ends and how. Below lie ``server_spans`` (what is recorded),
``handlers`` (how a servicer's method is watched) and ``status``; above lies the server that
installs it. ``served`` does the same without gRPC's interceptor machinery, and ``sync_server`` for
servers of threads.

Invariants:
- the context is set once, in the task that gRPC made for the RPC, and never detached: the task
  takes it along when it ends. It is set for RPCs without a span as well;
- a span ends when the RPC's task ends, whichever way that is, and not when the handler does: what
  gRPC does afterwards (serialise, send, refuse) is part of the RPC;
- no proxy stands before the servicer's context;
- nothing that telemetry raises reaches gRPC, a caller or a servicer.
"""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Unpack

import grpc
from opentelemetry import context as otel_context

from linkspan_propagation.contrib import is_instrumented
from linkspan_propagation.handlers import Handler, Watches
from linkspan_propagation.options import ServerChoices, ServerOptions
from linkspan_propagation.server_spans import LOST, ServerRecord, ServerSpans
from linkspan_propagation.status import ended_status, is_expired, status_code
from linkspan_propagation.traceresponse import Entry, add_to_trailing_metadata

_LOGGER: Final = logging.getLogger(__name__)


def server_interceptor(**options: Unpack[ServerOptions]) -> grpc.aio.ServerInterceptor:
    """Return an interceptor for ``grpc.aio.server(interceptors=[...])``.

    Put it first: it works in the task that gRPC made for the RPC, and what later interceptors do
    becomes part of its span. ``traced_server`` costs less.

    Args:
        **options: what to record, see ``ServerOptions``.

    Raises:
        MetadataCaptureError: a metadata key is asked for that may not be captured.

    The span's parent is the span that the caller's metadata name; without a valid one it is a root.
    It carries ``rpc.system.name``, ``rpc.method``, ``rpc.response.status_code`` and, where they
    apply, ``error.type`` and ``network.peer.*``. Its status is ERROR for the codes of
    ``status.SERVER_ERRORS`` only. An exception that a handler did not mean (one that is not
    ``abort``) is recorded once as an event.

    ``network.peer.*`` is missing on sync methods of one response: they run in a thread, from which
    asking gRPC for the peer would race with the end of the call.

    Where opentelemetry-instrumentation-grpc has patched this process's servers by now, as under
    ``opentelemetry-instrument``, its spans stand and this adds none (``contrib`` takes it out).
    """
    return _ServerInterceptor(server_spans(**options))


def server_spans(**options: Unpack[ServerOptions]) -> ServerSpans:
    """Return who records the RPCs of a grpc.aio server."""
    return ServerSpans(ServerChoices(**options), gives_way=is_instrumented("aio_server"))


class _ServerInterceptor(grpc.aio.ServerInterceptor):
    def __init__(self, spans: ServerSpans) -> None:
        self._spans = spans
        self._watches = Watches()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        rpc = begin_rpc(self._spans, handler_call_details)
        if rpc is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            return self._watches.watched(handler_call_details.method, handler, None)
        try:
            handler = await continuation(handler_call_details)
        except BaseException as error:
            rpc.failed(error)
            raise
        if handler is None:
            rpc.unimplemented()
            return None
        return self._watches.watched(handler_call_details.method, handler, rpc)


def begin_rpc(spans: ServerSpans, details: grpc.HandlerCallDetails) -> "AioRpc | None":
    """Set the context of an RPC, and return who hears what becomes of it, if anybody needs to.

    Call it once, in the task that gRPC made for the RPC.
    """
    context, record = spans.begin(details)
    otel_context.attach(context)
    if record is None:
        return None
    rpc = AioRpc(record)
    task = asyncio.current_task()
    if task is not None:
        task.add_done_callback(rpc.ended)
    return rpc


class AioRpc:
    """One RPC that is recorded: hears what becomes of it, and when it ends."""

    __slots__ = (
        "_code",
        "_error",
        "_record",
        "_returned",
        "_servicer_context",
        "_timeout_seconds",
    )

    def __init__(self, record: ServerRecord) -> None:
        self._record = record
        self._servicer_context: Any = None
        self._timeout_seconds: float | None = None
        self._error: BaseException | None = None
        self._code: grpc.StatusCode | None = None
        self._returned = False

    def called(self, servicer_context: Any, *, in_loop: bool) -> None:
        """Keep the servicer's context, which alone knows code and deadline."""
        try:
            context = _asyncio_context(servicer_context)
            self._timeout_seconds = context.time_remaining()
            self._servicer_context = context
            if in_loop:
                self._record.came_from(context.peer())
            if self._record.answer is not None:
                self._answer(self._record.answer)
        except Exception:  # telemetry must not fail the RPC
            _LOGGER.warning(LOST, "describe", exc_info=True)

    def returned(self) -> None:
        """Keep that the handler came to its end by itself, and in time for the client."""
        try:
            context = self._servicer_context
            remaining_seconds = None if context is None else context.time_remaining()
            self._returned = remaining_seconds is None or remaining_seconds > 0
            if self._record.answer is not None:
                self._answer(self._record.answer)
        except Exception:  # telemetry must not fail the RPC
            _LOGGER.warning(LOST, "describe", exc_info=True)

    def failed(self, error: BaseException) -> None:
        """Keep what came out of the handler, for the end."""
        self._error = error
        try:
            if self._record.answer is not None:
                self._answer(self._record.answer)
        except Exception:  # telemetry must not fail the RPC
            _LOGGER.warning(LOST, "describe", exc_info=True)

    def unimplemented(self) -> None:
        """There is no such method."""
        self._code = grpc.StatusCode.UNIMPLEMENTED
        self._record.unimplemented()

    def ended(self, task: "asyncio.Task[Any]") -> None:
        """The RPC is over: say how."""
        code: grpc.StatusCode | None = None
        try:
            code = self._status(cancelled=task.cancelled() or task.cancelling() > 0)
        except Exception:  # telemetry must not fail the loop
            _LOGGER.warning(LOST, "describe", exc_info=True)
        meant = isinstance(self._error, grpc.aio.AbortError)
        self._record.end(code, None if meant else self._error, self._servicer_context)
        self._servicer_context = self._error = None

    def _answer(self, answer: Entry) -> None:
        """Tell the client which span this is, as often as the handler may have changed it.

        At first, for ``abort`` sends what is there then; and when the handler has ended.
        """
        if self._servicer_context is not None:
            add_to_trailing_metadata(self._servicer_context, answer)

    def _status(self, *, cancelled: bool) -> grpc.StatusCode | None:
        """Return how it ended; None where gRPC does not tell.

        gRPC does not tell where it turned the RPC away before its handler: the server's limit of
        concurrent RPCs was reached, or the client left before it sent its request.
        """
        context = self._servicer_context
        if context is not None:
            code = status_code(context.code())
            if code is None and self._returned and self._error is None and not cancelled:
                return grpc.StatusCode.OK  # as nearly all end
            return ended_status(
                code,
                self._error,
                # A handler that neither returned in time nor raised was left: its response could
                # not be sent.
                cancelled=cancelled or not (self._returned or self._error is not None),
                expired=is_expired(context.time_remaining(), self._timeout_seconds),
            )
        if self._code is None and self._error is None and not cancelled:
            return None
        return ended_status(self._code, self._error, cancelled=cancelled, expired=False)


def _asyncio_context(servicer_context: Any) -> Any:
    """Return the context that knows the status.

    A sync method on an asyncio server gets a context without ``code()``, which stands before the
    one that has it and does not show it. Python's garbage collector knows what an object refers to,
    so that no proxy is needed to hear what status the method set.
    """
    if hasattr(servicer_context, "code"):
        return servicer_context
    for referent in gc.get_referents(servicer_context):
        if hasattr(referent, "code") and hasattr(referent, "set_code"):
            return referent
    raise LookupError("this grpcio keeps the asyncio context of a sync method elsewhere")
