"""The server side for sync gRPC: one SERVER span for each RPC, and the caller's context inside it.

Owns the interceptor for ``grpc.server``, the server that does the same without one, and when an RPC
ends and how. Below lie ``server_spans`` (what is recorded), ``sync_handlers`` (how a method is
watched) and ``status``; above lies the server.

Invariants: as in ``server``, with gRPC's own context of the RPC in the place of its task: gRPC
looks up the handler in it and runs the method, all of its responses too, in it. It is set once and
never reset. A span ends when the RPC does, also while a method whose client has gone still runs.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Unpack

import grpc
from opentelemetry import context as otel_context

from linkspan_propagation.contrib import is_instrumented
from linkspan_propagation.handlers import Handler
from linkspan_propagation.options import ServerChoices, ServerOptions
from linkspan_propagation.server_spans import LOST, ServerRecord, ServerSpans
from linkspan_propagation.status import is_expired, sync_status_code
from linkspan_propagation.sync_handlers import watched_sync
from linkspan_propagation.traceresponse import add_to_trailing_metadata

_LOGGER: Final = logging.getLogger(__name__)

_NO_DEADLINE_SECONDS: Final = 1e9
"""From here on ``time_remaining()`` of a sync server stands for no deadline."""


def sync_server_interceptor(
    **options: Unpack[ServerOptions],
) -> grpc.ServerInterceptor:
    """Return an interceptor for ``grpc.server(interceptors=[...])``.

    Put it first, so that what later interceptors do becomes part of the span. ``traced_server``
    costs less.

    Args:
        **options: what to record, see ``ServerOptions``.

    Raises:
        MetadataCaptureError: a metadata key is asked for that may not be captured.

    What the spans say is what ``server_interceptor`` says.
    """
    return _SyncServerInterceptor(_spans(options))


def traced_sync_server(server: grpc.Server, **options: Unpack[ServerOptions]) -> grpc.Server:
    """Return a server that traces the handlers that are added to it; see ``traced_server``."""
    return _TracedSyncServer(server, _spans(options))


def _spans(options: ServerOptions) -> ServerSpans:
    return ServerSpans(ServerChoices(**options), gives_way=is_instrumented("sync_server"))


class _SyncServerInterceptor(grpc.ServerInterceptor):
    def __init__(self, spans: ServerSpans) -> None:
        self._spans = spans

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Handler | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        rpc = _begin(self._spans, handler_call_details)
        if rpc is None:
            return continuation(handler_call_details)
        try:
            handler = continuation(handler_call_details)
        except BaseException as error:
            rpc.broken(error)
            raise
        if handler is None:
            rpc.unimplemented()
            return None
        return watched_sync(handler, rpc)


class _TracedSyncServer(grpc.Server):
    def __init__(self, server: grpc.Server, spans: ServerSpans) -> None:
        self._server = server
        self._spans = spans

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: "Iterable[grpc.GenericRpcHandler]"
    ) -> None:
        self._server.add_generic_rpc_handlers(
            tuple(_TracedHandlers(handlers, self._spans) for handlers in generic_rpc_handlers)
        )

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: "Mapping[str, Handler]"
    ) -> None:
        # gRPC would look these up without asking anybody. They are found by name as well.
        self.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service_name, dict(method_handlers))]
        )

    def add_insecure_port(self, address: str) -> int:
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        return self._server.add_secure_port(address, server_credentials)

    def start(self) -> None:
        self._server.add_generic_rpc_handlers((_NoHandlers(self._spans),))
        self._server.start()

    def stop(self, grace: float | None) -> threading.Event:
        return self._server.stop(grace)

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        return self._server.wait_for_termination(timeout)


class _TracedHandlers(grpc.GenericRpcHandler):
    """Finds what the handlers behind it find, traced."""

    def __init__(self, handlers: grpc.GenericRpcHandler, spans: ServerSpans) -> None:
        self._handlers = handlers
        self._spans = spans

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        handler: Handler | None = self._handlers.service(handler_call_details)
        if handler is None:
            return None
        rpc = _begin(self._spans, handler_call_details)
        return handler if rpc is None else watched_sync(handler, rpc)


class _NoHandlers(grpc.GenericRpcHandler):
    """Stands behind all others, and hears of the methods that none of them has."""

    def __init__(self, spans: ServerSpans) -> None:
        self._spans = spans

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        rpc = _begin(self._spans, handler_call_details)
        if rpc is not None:
            rpc.unimplemented()


def _begin(spans: ServerSpans, details: grpc.HandlerCallDetails) -> "_SyncRpc | None":
    """Set the context of an RPC, and return who hears what becomes of it, if anybody needs to.

    Call it once, in the context that gRPC made for the RPC.
    """
    context, record = spans.begin(details)
    otel_context.attach(context)
    return None if record is None else _SyncRpc(record)


class _SyncRpc:
    """One RPC that is recorded: hears what becomes of it, and when it ends.

    Methods are called in the thread that serves and in the one of the pool, but not two at a time
    that matter to each other: what a method still does after the end is heard and not used.
    """

    def __init__(self, record: ServerRecord) -> None:
        self._record = record
        self._ended = threading.Lock()
        self._servicer_context: Any = None
        self._timeout_seconds: float | None = None
        self._error: BaseException | None = None
        self._over = False
        self._unreadable = False

    def called(self, servicer_context: Any) -> None:
        """Keep the servicer's context, which alone knows the code, and ask it for the end."""
        try:
            self._timeout_seconds = _remaining_seconds(servicer_context)
            self._record.came_from(servicer_context.peer())
            self._servicer_context = servicer_context
            if not servicer_context.add_callback(self.ended):
                self.ended()  # the client left before
        except Exception:  # telemetry must not fail the RPC
            _LOGGER.warning(LOST, "describe", exc_info=True)

    def returned(self) -> None:
        """The method came to its end by itself."""
        self._came_to_its_end()

    def failed(self, error: BaseException) -> None:
        """Keep what came out of the method, for the end."""
        self._error = error
        self._came_to_its_end()

    def unreadable(self) -> None:
        """A message could not be read or written, of which gRPC makes INTERNAL."""
        self._unreadable = True

    def broken(self, error: BaseException) -> None:
        """A later interceptor raised, of which gRPC makes UNKNOWN."""
        self._error = error
        self._end(grpc.StatusCode.UNKNOWN, error)

    def unimplemented(self) -> None:
        """There is no such method."""
        self._record.unimplemented()
        self._end(grpc.StatusCode.UNIMPLEMENTED, None)

    def ended(self) -> None:
        """The RPC is over, and gRPC says so: say how."""
        code: grpc.StatusCode | None = None
        try:
            code = self._status()
        except Exception:  # telemetry must not fail the thread that serves
            _LOGGER.warning(LOST, "describe", exc_info=True)
        self._end(code, None if self._is_abort() else self._error)

    def __del__(self) -> None:
        """End the span of an RPC whose method gRPC never called, and whose handler it let go of.

        Its client left before it sent a request, the request could not be read, or the server's
        limit of concurrent RPCs was reached. gRPC tells none of it to anybody.
        """
        self._end(grpc.StatusCode.INTERNAL if self._unreadable else None, None)

    def _came_to_its_end(self) -> None:
        try:
            # Where the client has left meanwhile, nobody gets a status from the method any more.
            self._over = bool(self._servicer_context.is_active())
            if self._record.answer is not None:
                add_to_trailing_metadata(self._servicer_context, self._record.answer)
        except Exception:  # telemetry must not fail the RPC
            _LOGGER.warning(LOST, "describe", exc_info=True)

    def _status(self) -> grpc.StatusCode:
        context = self._servicer_context
        code = sync_status_code(context.code())
        if self._unreadable:
            return grpc.StatusCode.INTERNAL if code is None else code
        if not self._over:
            expired = is_expired(_remaining_seconds(context), self._timeout_seconds)
            return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED
        if code is None:
            return grpc.StatusCode.OK if self._error is None else grpc.StatusCode.UNKNOWN
        return code

    def _is_abort(self) -> bool:
        """Say whether the method was ended by ``abort``, which sets a code and raises a bare one."""
        error = self._error
        return (
            type(error) is Exception
            and not error.args
            and self._servicer_context is not None
            and self._servicer_context.code() is not None
        )

    def _end(self, code: grpc.StatusCode | None, error: BaseException | None) -> None:
        if self._ended.acquire(blocking=False):  # once, and never released
            self._record.end(code, error, self._servicer_context)
            self._error = None


def _remaining_seconds(servicer_context: Any) -> float | None:
    remaining: float = servicer_context.time_remaining()
    return remaining if remaining < _NO_DEADLINE_SECONDS else None
