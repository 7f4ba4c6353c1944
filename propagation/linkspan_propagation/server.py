"""The server side for grpc.aio: one SERVER span for each RPC, and the caller's context inside it.

Owns the interceptor and the life of its spans. Below lie ``carriers`` (what the caller sent),
``handlers`` (how a servicer's method is watched) and ``status`` (how it ended); above lies the
server that installs it. Only the OpenTelemetry API is used: whether and where spans go is the
process's choice.

Invariants:
- the context is set once, in the task that gRPC made for the RPC, and never detached: the task
  takes it along when it ends. It is set for RPCs without a span as well;
- a span ends when the RPC's task ends, whichever way that is, and not when the handler does: what
  gRPC does afterwards (serialise, send, refuse) is part of the RPC;
- no proxy stands before the servicer's context;
- nothing that telemetry raises reaches gRPC, a caller or a servicer.
"""

import asyncio
import functools
import gc
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

import grpc
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from linkspan_propagation import conventions
from linkspan_propagation.carriers import extract
from linkspan_propagation.handlers import Handler, watched
from linkspan_propagation.status import SERVER_ERRORS, ended_status, is_expired, status_code

_LOGGER: Final = logging.getLogger(__name__)
_LOST: Final = "could not %s the span of an RPC; the RPC goes on"
_NO_NAMES: Final[Mapping[str, str]] = {}
_NO_ATTRIBUTES: Final[Mapping[str, AttributeValue]] = {}


def _always(full_method: str) -> bool:
    del full_method
    return True


def server_interceptor(
    *,
    span_names: Mapping[str, str] = _NO_NAMES,
    attributes: Mapping[str, AttributeValue] = _NO_ATTRIBUTES,
    record: Callable[[str], bool] = _always,
    tracer_provider: trace.TracerProvider | None = None,
) -> grpc.aio.ServerInterceptor:
    """Return an interceptor for ``grpc.aio.server(interceptors=[...])``.

    Put it first: it works in the task that gRPC made for the RPC, and what later interceptors do
    becomes part of its span.

    Args:
        span_names: names of spans by full method (``/package.Service/Method``); the others are
            named by the conventions, ``package.Service/Method``.
        attributes: set on each span, such as ``server.address`` and ``server.port``, which a server
            cannot find out from a call.
        record: called with the full method of each RPC, in the event loop; where it returns false,
            there is no span, and the caller's context is set all the same.
        tracer_provider: where spans go; None means the global one, also one that is set later.

    The span's parent is the span that the caller's metadata name; without a valid one it is a root.
    It carries ``rpc.system.name``, ``rpc.method``, ``rpc.response.status_code`` and, where they
    apply, ``error.type`` and ``network.peer.*``. Its status is ERROR for the codes of
    ``status.SERVER_ERRORS`` only. An exception that a handler did not mean (one that is not
    ``abort``) is recorded once as an event.

    ``network.peer.*`` is missing on sync methods of one response: they run in a thread, from which
    asking gRPC for the peer would race with the end of the call.
    """
    return _ServerInterceptor(
        span_names=dict(span_names),
        attributes=dict(attributes),
        record=record,
        tracer=trace.get_tracer(
            "linkspan_propagation",
            tracer_provider=tracer_provider,
            schema_url=conventions.SCHEMA_URL,
        ),
    )


class _ServerInterceptor(grpc.aio.ServerInterceptor):
    def __init__(
        self,
        *,
        span_names: Mapping[str, str],
        attributes: Mapping[str, AttributeValue],
        record: Callable[[str], bool],
        tracer: trace.Tracer,
    ) -> None:
        self._span_names = span_names
        self._attributes = attributes
        self._record = record
        self._tracer = tracer

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        context = _extracted(handler_call_details)
        span = self._start(handler_call_details.method, context)
        if span is None:
            otel_context.attach(context)
            rpc = None
        else:
            otel_context.attach(trace.set_span_in_context(span, context))
            rpc = _Rpc(span, handler_call_details.method) if span.is_recording() else None
        if rpc is None:
            handler = await continuation(handler_call_details)
            return None if handler is None else watched(handler, None)

        task = asyncio.current_task()
        if task is not None:
            task.add_done_callback(rpc.ended)
        try:
            handler = await continuation(handler_call_details)
        except BaseException as error:
            rpc.failed(error)
            raise
        if handler is None:
            rpc.unimplemented()
            return None
        return watched(handler, rpc)

    def _start(self, method: str, context: Context) -> Span | None:
        """Start the RPC's span; None where it is not to be recorded, or telemetry is broken."""
        try:
            if not self._record(method):
                return None
            name = method.removeprefix("/")
            return self._tracer.start_span(
                self._span_names.get(method, name),
                context,
                SpanKind.SERVER,
                {
                    conventions.RPC_SYSTEM_NAME: conventions.RPC_SYSTEM_GRPC,
                    conventions.RPC_METHOD: name,
                    **self._attributes,
                },
            )
        except Exception:  # a broken sampler, processor or filter costs a span
            _LOGGER.warning(_LOST, "start", exc_info=True)
            return None


class _Rpc:
    """One RPC that is recorded: hears what becomes of it, and ends its span."""

    __slots__ = (
        "_code",
        "_error",
        "_method",
        "_returned",
        "_servicer_context",
        "_span",
        "_timeout_seconds",
    )

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method
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
                self._span.set_attributes(_peer_attributes(context.peer()))
        except Exception:  # telemetry must not fail the RPC
            _LOGGER.warning(_LOST, "describe", exc_info=True)

    def returned(self) -> None:
        """Keep that the handler came to its end by itself, and in time for the client."""
        try:
            context = self._servicer_context
            remaining_seconds = None if context is None else context.time_remaining()
            self._returned = remaining_seconds is None or remaining_seconds > 0
        except Exception:  # telemetry must not fail the RPC
            _LOGGER.warning(_LOST, "describe", exc_info=True)

    def failed(self, error: BaseException) -> None:
        """Keep what came out of the handler, for the end."""
        self._error = error

    def unimplemented(self) -> None:
        """No handler: the method's name is the caller's invention and names no span."""
        self._code = grpc.StatusCode.UNIMPLEMENTED
        try:
            self._span.update_name(conventions.RPC_METHOD_OTHER)
            self._span.set_attributes(
                {
                    conventions.RPC_METHOD: conventions.RPC_METHOD_OTHER,
                    conventions.RPC_METHOD_ORIGINAL: self._method.removeprefix("/"),
                }
            )
        except Exception:  # telemetry must not fail the RPC
            _LOGGER.warning(_LOST, "describe", exc_info=True)

    def ended(self, task: "asyncio.Task[Any]") -> None:
        """The RPC is over: say how, and end the span."""
        try:
            code = self._status(cancelled=task.cancelled() or task.cancelling() > 0)
            if code is not None:
                self._describe(code)
        except Exception:  # telemetry must not fail the loop
            _LOGGER.warning(_LOST, "describe", exc_info=True)
        try:
            self._span.end()
        except Exception:  # a broken processor costs a span
            _LOGGER.warning(_LOST, "end", exc_info=True)
        self._servicer_context = self._error = None

    def _status(self, *, cancelled: bool) -> grpc.StatusCode | None:
        """Return how it ended; None where gRPC does not tell.

        gRPC does not tell where it turned the RPC away before its handler: the server's limit of
        concurrent RPCs was reached, or the client left before it sent its request.
        """
        context = self._servicer_context
        if context is not None:
            return ended_status(
                status_code(context.code()),
                self._error,
                # A handler that neither returned in time nor raised was left: its response could
                # not be sent.
                cancelled=cancelled or not (self._returned or self._error is not None),
                expired=is_expired(context.time_remaining(), self._timeout_seconds),
            )
        if self._code is None and self._error is None and not cancelled:
            return None
        return ended_status(self._code, self._error, cancelled=cancelled, expired=False)

    def _describe(self, code: grpc.StatusCode) -> None:
        span, error = self._span, self._error
        span.set_attribute(conventions.RPC_RESPONSE_STATUS_CODE, code.name)
        if code not in SERVER_ERRORS:
            return
        unmeant = isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError)
        span.set_attribute(conventions.ERROR_TYPE, _class_name(error) if unmeant else code.name)
        span.set_status(Status(StatusCode.ERROR, _details(self._servicer_context)))
        if unmeant and isinstance(error, Exception):
            span.record_exception(error)


def _extracted(details: grpc.HandlerCallDetails) -> Context:
    try:
        return extract(details.invocation_metadata)
    except Exception:  # no context is worth failing an RPC
        _LOGGER.warning(_LOST, "extract", exc_info=True)
        return Context()


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


@functools.lru_cache(maxsize=256)
def _peer_attributes(peer: str) -> Mapping[str, AttributeValue]:
    """Return ``network.peer.*`` for gRPC's name of a peer.

    A peer is ``ipv4:127.0.0.1:5000``, ``ipv6:%5B::1%5D:5000`` or ``unix:/path``, percent-encoded
    (https://github.com/grpc/grpc/blob/master/doc/naming.md). Connections last, hence the cache.
    """
    scheme, _, rest = unquote(peer).partition(":")
    if scheme in {"ipv4", "ipv6"}:
        host, _, port = rest.rpartition(":")
        address = host.removeprefix("[").removesuffix("]")
        if address and port.isascii() and port.isdigit():
            return {
                conventions.NETWORK_PEER_ADDRESS: address,
                conventions.NETWORK_PEER_PORT: int(port),
            }
    if scheme in {"unix", "unix-abstract"} and rest:
        return {conventions.NETWORK_PEER_ADDRESS: rest}
    return {}


def _class_name(error: BaseException | None) -> str:
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _details(servicer_context: Any) -> str | None:
    details = None if servicer_context is None else servicer_context.details()
    return details if isinstance(details, str) and details else None
