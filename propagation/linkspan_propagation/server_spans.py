"""What is recorded of an RPC on its server: one SERVER span, one duration.

Owns the start and the end of both, for servers of either kind. Below lie ``carriers`` (what the
caller sent), ``capture``, ``durations`` and ``status``; above lie ``server`` (grpc.aio) and
``sync_server``, which know when an RPC ends and how. Only the OpenTelemetry API is used: whether
and where spans go is the process's choice.

Invariant: nothing that telemetry raises reaches gRPC, a caller or a servicer.
"""

import functools
import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final
from urllib.parse import unquote

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from linkspan_propagation import conventions
from linkspan_propagation.capture import captured
from linkspan_propagation.carriers import extract
from linkspan_propagation.durations import CallDurations
from linkspan_propagation.options import ServerChoices
from linkspan_propagation.status import SERVER_ERRORS
from linkspan_propagation.traceresponse import Entry, traceresponse_of

LOST: Final = "could not %s the span of an RPC; the RPC goes on"
"""What is logged where telemetry is broken."""

_LOGGER: Final = logging.getLogger(__name__)
_MOST_KNOWN_METHODS: Final = 256


class ServerSpans:
    """Starts what is to be recorded of each RPC of a server."""

    def __init__(self, choices: ServerChoices, *, gives_way: bool = False) -> None:
        """Prepare a server.

        Args:
            choices: what to record.
            gives_way: somebody else records spans of this server's RPCs.
        """
        self._choices = choices
        self._gives_way = gives_way
        self._known: dict[str, tuple[str, dict[str, AttributeValue]]] = {}
        self._tracer = trace.get_tracer(
            "linkspan_propagation",
            tracer_provider=choices.tracer_provider,
            schema_url=conventions.SCHEMA_URL,
        )
        self._durations = (
            CallDurations(
                conventions.RPC_SERVER_CALL_DURATION,
                "Measures the duration of an incoming Remote Procedure Call (RPC).",
                attributes=choices.attributes,
                meter_provider=choices.meter_provider,
            )
            if choices.metrics
            else None
        )

    def begin(self, details: grpc.HandlerCallDetails) -> "tuple[Context, ServerRecord | None]":
        """Begin an RPC.

        Returns:
            The context for all that happens in it, and who records it; None where nothing is
            recorded, and where its end need not be heard.
        """
        try:
            context = extract(details.invocation_metadata)
        except Exception:  # no context is worth failing an RPC
            _LOGGER.warning(LOST, "extract", exc_info=True)
            context = Context()
        links: list[Link] | None = None
        if self._choices.public_endpoint:
            caller = trace.get_current_span(context).get_span_context()
            if caller.is_valid:
                context = trace.set_span_in_context(trace.INVALID_SPAN, context)
                links = [Link(caller)]
        record = self._choices.record
        if record is not None and not _is_recorded(record, details.method):
            return context, None
        span: Span = trace.INVALID_SPAN
        if not self._gives_way:
            started = self._start(details, context, links)
            if started is not None:
                # Where nobody has set up telemetry, this is the caller's place in its trace.
                span = started
                context = trace.set_span_in_context(span, context)
        answer = self._answer(details, span) if self._choices.traceresponse else None
        if self._durations is None and answer is None and not span.is_recording():
            return context, None
        return context, ServerRecord(
            span,
            details.method,
            context,
            durations=self._durations,
            response_metadata=self._choices.response_metadata,
            answer=answer,
        )

    def _answer(self, details: grpc.HandlerCallDetails, span: Span) -> Entry | None:
        """Return what the caller is told about the RPC's span; None for nothing."""
        wanted = self._choices.traceresponse
        try:
            if isinstance(wanted, bool) or wanted(details):
                return traceresponse_of(span.get_span_context())
        except Exception:  # a broken choice costs the field
            _LOGGER.warning(LOST, "tell", exc_info=True)
        return None

    def _start(
        self, details: grpc.HandlerCallDetails, context: Context, links: list[Link] | None
    ) -> Span | None:
        """Start the RPC's span; None where telemetry is broken."""
        choices = self._choices
        try:
            name, attributes = self._known.get(details.method) or self._described(details.method)
            if choices.request_metadata:
                attributes = dict(attributes)
                attributes.update(
                    captured(
                        conventions.RPC_REQUEST_METADATA,
                        choices.request_metadata,
                        details.invocation_metadata,
                    )
                )
            return self._tracer.start_span(name, context, SpanKind.SERVER, attributes, links)
        except Exception:  # a broken sampler or processor costs a span
            _LOGGER.warning(LOST, "start", exc_info=True)
            return None

    def _described(self, full_method: str) -> tuple[str, dict[str, AttributeValue]]:
        """Return name and attributes of the spans of a method, and keep them for the next."""
        choices = self._choices
        method = full_method.removeprefix("/")
        described: tuple[str, dict[str, AttributeValue]] = (
            choices.span_names.get(full_method, method),
            {
                conventions.RPC_SYSTEM_NAME: conventions.RPC_SYSTEM_GRPC,
                conventions.RPC_METHOD: method,
                **choices.attributes,
            },
        )
        # Callers can make up any number of methods, which are not there.
        if len(self._known) < _MOST_KNOWN_METHODS:
            self._known[full_method] = described
        return described


class ServerRecord:
    """One RPC that is recorded.

    Attributes:
        answer: what to add to its trailing metadata; None for nothing.
    """

    __slots__ = (
        "_context",
        "_durations",
        "_method",
        "_response_metadata",
        "_span",
        "_started_seconds",
        "answer",
    )

    def __init__(
        self,
        span: Span,
        method: str,
        context: Context,
        *,
        durations: CallDurations | None,
        response_metadata: Collection[str],
        answer: Entry | None,
    ) -> None:
        self._span = span
        self._method = method.removeprefix("/")
        self._context = context
        self._durations = durations
        self._response_metadata = response_metadata
        self._started_seconds = time.perf_counter()
        self.answer = answer

    def came_from(self, peer: str) -> None:
        """Note gRPC's name of the peer."""
        if self._span.is_recording():
            self._span.set_attributes(_peer_attributes(peer))

    def unimplemented(self) -> None:
        """No handler: the method's name is the caller's invention and names no span."""
        method, self._method = self._method, conventions.RPC_METHOD_OTHER
        try:
            self._span.update_name(conventions.RPC_METHOD_OTHER)
            self._span.set_attributes(
                {
                    conventions.RPC_METHOD: conventions.RPC_METHOD_OTHER,
                    conventions.RPC_METHOD_ORIGINAL: method,
                }
            )
        except Exception:  # telemetry must not fail the RPC
            _LOGGER.warning(LOST, "describe", exc_info=True)

    def end(
        self,
        code: grpc.StatusCode | None,
        error: BaseException | None = None,
        servicer_context: Any = None,
    ) -> None:
        """The RPC is over. Call this once; never raises.

        Args:
            code: its status; None where gRPC does not tell.
            error: what came out of the handler and was not meant, hence not of ``abort``.
            servicer_context: who knows details and trailing metadata, where a handler was called.
        """
        seconds = time.perf_counter() - self._started_seconds
        unmeant = error if isinstance(error, Exception) else None
        error_type = None
        if code in SERVER_ERRORS:
            error_type = code.name if unmeant is None else _class_name(unmeant)
        try:
            if code is not None and self._span.is_recording():
                self._describe(code, error_type, unmeant, servicer_context)
        except Exception:  # telemetry must not fail who calls this
            _LOGGER.warning(LOST, "describe", exc_info=True)
        try:
            self._span.end()
        except Exception:  # a broken processor costs a span
            _LOGGER.warning(LOST, "end", exc_info=True)
        if self._durations is not None:
            self._durations.record(
                seconds,
                method=self._method,
                status=None if code is None else code.name,
                error_type=error_type,
                context=self._context,
            )

    def _describe(
        self,
        code: grpc.StatusCode,
        error_type: str | None,
        unmeant: Exception | None,
        servicer_context: Any,
    ) -> None:
        span = self._span
        span.set_attribute(conventions.RPC_RESPONSE_STATUS_CODE, code.name)
        if self._response_metadata and servicer_context is not None:
            span.set_attributes(
                captured(
                    conventions.RPC_RESPONSE_METADATA,
                    self._response_metadata,
                    servicer_context.trailing_metadata(),
                )
            )
        if error_type is None:
            return
        span.set_attribute(conventions.ERROR_TYPE, error_type)
        span.set_status(Status(StatusCode.ERROR, _details(servicer_context)))
        if unmeant is not None:
            span.record_exception(unmeant)


def _is_recorded(record: Callable[[str], bool], full_method: str) -> bool:
    try:
        return record(full_method)
    except Exception:  # a broken filter costs a span
        _LOGGER.warning(LOST, "start", exc_info=True)
        return False


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


def _class_name(error: BaseException) -> str:
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _details(servicer_context: Any) -> str | None:
    details = None if servicer_context is None else servicer_context.details()
    if isinstance(details, bytes):  # as a sync server keeps them
        details = details.decode(errors="replace")
    return details if isinstance(details, str) and details else None
