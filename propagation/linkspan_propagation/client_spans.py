"""What is recorded of a call at its client, where that is asked for: a CLIENT span, a duration.

Owns the start and the end of both, for calls of either kind. Below lie ``capture`` and
``durations``; ``call_ends`` tells when a call ends and how; above lie ``channel`` and ``client``
(grpc.aio), ``sync_channel`` and ``sync_client``.

Invariants: nothing that telemetry raises reaches a caller; a CLIENT span is an error for every
status but OK (https://opentelemetry.io/docs/specs/semconv/rpc/grpc/#client-span-status).
"""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable
from typing import Final

import grpc
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from linkspan_propagation import conventions
from linkspan_propagation.capture import captured
from linkspan_propagation.carriers import MetadataEntry
from linkspan_propagation.durations import CallDurations
from linkspan_propagation.options import ClientChoices

_LOGGER: Final = logging.getLogger(__name__)
_LOST: Final = "could not %s the span of a call; the call goes on"


class ClientSpans:
    """Starts what is to be recorded of each call of a client."""

    def __init__(self, choices: ClientChoices, *, gives_way: bool = False) -> None:
        """Prepare a client.

        Args:
            choices: what to record.
            gives_way: somebody else records spans of this client's calls.
        """
        self._choices = choices
        self._has_spans = choices.spans and not gives_way
        self.records = self._has_spans or choices.metrics
        self._tracer = trace.get_tracer(
            "linkspan_propagation",
            tracer_provider=choices.tracer_provider,
            schema_url=conventions.SCHEMA_URL,
        )
        self._durations = (
            CallDurations(
                conventions.RPC_CLIENT_CALL_DURATION,
                "Measures the duration of an outgoing Remote Procedure Call (RPC).",
                attributes=choices.attributes,
                meter_provider=choices.meter_provider,
            )
            if choices.metrics
            else None
        )

    def begin(self, method: str, metadata: Iterable[MetadataEntry] | None) -> "ClientRecord | None":
        """Begin a call.

        Args:
            method: full name, with the leading slash.
            metadata: of the call, as its caller gave them; read only where keys are captured.

        Returns:
            Who records it; None where nothing is recorded.
        """
        if not self.records:
            return None
        try:
            if self._choices.record is not None and not self._choices.record(method):
                return None
        except Exception:  # a broken filter costs a span
            _LOGGER.warning(_LOST, "start", exc_info=True)
            return None
        context = otel_context.get_current()
        span = self._start(method, metadata) if self._has_spans else None
        if span is None:
            if self._durations is None:
                return None
            span = trace.INVALID_SPAN
        else:
            context = trace.set_span_in_context(span, context)
        return ClientRecord(
            span,
            method,
            context,
            durations=self._durations,
            response_metadata=self._choices.response_metadata,
        )

    def _start(self, method: str, metadata: Iterable[MetadataEntry] | None) -> Span | None:
        choices = self._choices
        try:
            name = method.removeprefix("/")
            attributes: dict[str, AttributeValue] = {
                conventions.RPC_SYSTEM_NAME: conventions.RPC_SYSTEM_GRPC,
                conventions.RPC_METHOD: name,
                **choices.attributes,
            }
            if choices.request_metadata:
                attributes.update(_captured_request(choices.request_metadata, metadata))
            return self._tracer.start_span(
                choices.span_names.get(method, name), None, SpanKind.CLIENT, attributes
            )
        except Exception:  # a broken sampler or processor costs a span
            _LOGGER.warning(_LOST, "start", exc_info=True)
            return None


class ClientRecord:
    """One call that is recorded.

    Attributes:
        context: what the call carries.
        is_heard: whether the end of the call has to be heard at all.
    """

    __slots__ = (
        "_durations",
        "_ended",
        "_method",
        "_response_metadata",
        "_span",
        "_started_seconds",
        "context",
        "is_heard",
    )

    def __init__(
        self,
        span: Span,
        method: str,
        context: Context,
        *,
        durations: CallDurations | None,
        response_metadata: Collection[str],
    ) -> None:
        self._span = span
        self._method = method.removeprefix("/")
        self._durations = durations
        self._response_metadata = response_metadata
        self._started_seconds = time.perf_counter()
        self._ended = False
        self.context = context
        self.is_heard = durations is not None or span.is_recording()

    @property
    def wants_metadata(self) -> bool:
        """Whether the metadata of the response are wanted at the end."""
        return bool(self._response_metadata) and self._span.is_recording()

    def end(
        self,
        code: grpc.StatusCode | None,
        details: str | None = None,
        metadata: Iterable[MetadataEntry] = (),
    ) -> None:
        """The call is over; a second end is not heard. Never raises.

        Args:
            code: its status; None where gRPC does not tell.
            details: of the status.
            metadata: of the response, where ``wants_metadata``.
        """
        error_type = None if code in {None, grpc.StatusCode.OK} else str(getattr(code, "name", ""))
        self._end(code, error_type, details, metadata)

    def refused(self, error: BaseException) -> None:
        """No call came about: gRPC raised instead."""
        if isinstance(error, asyncio.CancelledError):
            self._end(grpc.StatusCode.CANCELLED, grpc.StatusCode.CANCELLED.name, None, ())
            return
        self._end(None, type(error).__qualname__, str(error), ())

    def _end(
        self,
        code: grpc.StatusCode | None,
        error_type: str | None,
        details: str | None,
        metadata: Iterable[MetadataEntry],
    ) -> None:
        if self._ended:
            return
        self._ended = True
        seconds = time.perf_counter() - self._started_seconds
        span = self._span
        try:
            if span.is_recording():
                if code is not None:
                    span.set_attribute(conventions.RPC_RESPONSE_STATUS_CODE, code.name)
                if self._response_metadata:
                    span.set_attributes(
                        captured(
                            conventions.RPC_RESPONSE_METADATA, self._response_metadata, metadata
                        )
                    )
                if error_type is not None:
                    span.set_attribute(conventions.ERROR_TYPE, error_type)
                    span.set_status(Status(StatusCode.ERROR, details or None))
        except Exception:  # telemetry must not fail who calls this
            _LOGGER.warning(_LOST, "describe", exc_info=True)
        try:
            span.end()
        except Exception:  # a broken processor costs a span
            _LOGGER.warning(_LOST, "end", exc_info=True)
        if self._durations is not None:
            self._durations.record(
                seconds,
                method=self._method,
                status=None if code is None else code.name,
                error_type=error_type,
                context=self.context,
            )


def _captured_request(
    keys: Collection[str], metadata: Iterable[MetadataEntry] | None
) -> dict[str, tuple[str, ...]]:
    try:
        return captured(conventions.RPC_REQUEST_METADATA, keys, metadata)
    except (TypeError, ValueError, LookupError):  # gRPC will refuse them, and say so itself
        return {}
