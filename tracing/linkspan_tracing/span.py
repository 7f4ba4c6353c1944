"""A span that costs little while it is recorded.

Owns what the API's ``Span`` promises. Above lies the tracer, which starts spans; below lie ``limits``
(what may be kept), the export (which gets the span when it has ended) and the processors.

Invariants: recording keeps references and encodes nothing; no locks, and what a caller can change
later is copied; after its end a span does not change; nothing here raises, except what the caller's
own interpreter raises in any code.
"""

import logging
import time
import traceback
from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv.attributes.exception_attributes import (
    EXCEPTION_ESCAPED,
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
)
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import AnyValue
from opentelemetry.util.types import Attributes as AnyAttributes

from linkspan_tracing import limits as limiting
from linkspan_tracing.limits import PLAIN, Attributes, SpanLimits
from linkspan_tracing.rarely import RareWarning

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Event

    from linkspan_tracing.open_spans import OpenSpans
    from linkspan_tracing.processors import Processors

_LOGGER: Final = logging.getLogger(__name__)
_ENDED: Final = RareWarning(_LOGGER)
_DROPPED: Final = RareWarning(_LOGGER)
_UNSET: Final = Status()


class SpanEvent(NamedTuple):
    """An event as a span keeps it: time in nanoseconds since the epoch, and what was dropped."""

    time_nanos: int
    name: str
    attributes: Attributes
    dropped: int


class SpanLink(NamedTuple):
    """A link as a span keeps it, and how many of its attributes were dropped."""

    context: SpanContext
    attributes: Attributes
    dropped: int


class Export(Protocol):
    """Takes a span that has ended. Never raises or waits."""

    def __call__(self, span: "LeanSpan", /) -> None:
        """Take it."""


class Origin:
    """What all spans of one tracer have in common.

    Attributes:
        scope: the instrumentation scope of the tracer.
        resource: the resource of its provider.
        limits: how much a span may hold.
        processors: who else hears of spans.
        export: what a sampled span is given to when it has ended.
        open_spans: where a sampled span is while it is open; None for nowhere.
    """

    __slots__ = ("export", "limits", "open_spans", "processors", "resource", "scope")

    def __init__(
        self,
        scope: InstrumentationScope,
        resource: Resource,
        limits: SpanLimits,
        processors: "Processors",
        export: Export,
        open_spans: "OpenSpans | None" = None,
    ) -> None:
        self.scope = scope
        self.resource = resource
        self.limits = limits
        self.processors = processors
        self.export = export
        self.open_spans = open_spans


class LeanSpan(trace.Span):
    """A span that records. Made by ``LeanTracer``.

    It may be used from several threads; where two of them set attributes at the same time at the
    limit of their count, which one is dropped is up to chance.

    What it shows is for reading; its methods are how it is changed.

    Attributes:
        origin: what it has in common with other spans of its tracer.
        name: the name.
        context: the same as ``get_span_context()``.
        parent: the context of the parent; None for a root.
        kind: the kind.
        start_time: nanoseconds since the epoch.
        end_time: nanoseconds since the epoch; None while it records.
        status: the status.
        sampled: whether it is exported.
        on_exception: whether leaving its block by an exception is recorded, and sets the status.
        events_kept: the newest events, in order.
        links_kept: the newest links, in order.
        attributes_kept: the attributes, the newest last.
        attributes_dropped: how many were not kept.
        events_dropped: how many were not kept.
        links_dropped: how many were not kept.
    """

    # What most spans never have is no attribute of theirs until they do.
    sampled: bool = True
    on_exception: tuple[bool, bool] = (True, True)
    events_kept: list[SpanEvent] | None = None
    links_kept: list[SpanLink] | None = None
    attributes_dropped: int = 0
    events_dropped: int = 0
    links_dropped: int = 0
    end_time: int | None = None
    status: Status = _UNSET

    def __init__(
        self,
        origin: Origin,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        start_time: int,
    ) -> None:
        self.origin = origin
        self.name = name
        self.context = context
        self.parent = parent
        self.kind = kind
        self.attributes_kept: Attributes = {}
        self.start_time = start_time

    # --- the API ----------------------------------------------------------------------------

    def get_span_context(self) -> SpanContext:
        """Return what identifies this span, and travels to its children."""
        return self.context

    def is_recording(self) -> bool:
        """Return whether it has not ended yet."""
        return self.end_time is None

    def set_attribute(self, key: str, value: AnyValue) -> None:
        """Set an attribute. One that cannot be sent is dropped, with a rare line in the log."""
        if self.end_time is not None:
            _ENDED.warn("an attribute was set on a span that has ended")
            return
        limits = self.origin.limits
        attributes = self.attributes_kept
        if (
            type(value) in PLAIN
            and limits.attribute_length is None
            and len(attributes) < limits.attributes
            and type(key) is str
            and key not in attributes
        ):
            attributes[key] = value
        else:
            self._put(key, value)

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        """Set several attributes, each as ``set_attribute`` does."""
        if self.end_time is not None:
            _ENDED.warn("attributes were set on a span that has ended")
            return
        limits = self.origin.limits
        kept = self.attributes_kept
        if not kept and len(attributes) <= limits.attributes:
            self.describe(attributes)
        elif limiting.can_join(attributes, kept, limits.attributes, limits.attribute_length):
            kept.update(attributes)
        else:
            for key, value in attributes.items():
                self._put(key, value)

    def describe(self, attributes: Mapping[str, AnyValue]) -> None:
        """Set the attributes of a span that has none yet."""
        limits = self.origin.limits
        self.attributes_kept, dropped = _kept(
            attributes, limits.attributes, limits.attribute_length
        )
        if dropped:
            self.attributes_dropped += dropped

    def _put(self, key: str, value: Any) -> None:
        limits = self.origin.limits
        dropped = limiting.put(
            self.attributes_kept, key, value, limits.attributes, limits.attribute_length
        )
        if dropped:
            self.attributes_dropped += dropped
            _tell_dropped(dropped)

    def add_event(
        self, name: str, attributes: AnyAttributes = None, timestamp: int | None = None
    ) -> None:
        """Record that something happened, now or at ``timestamp``, in nanoseconds since the epoch."""
        if self.end_time is not None:
            _ENDED.warn("an event was added to a span that has ended")
            return
        moment = time.time_ns() if timestamp is None else timestamp
        limits = self.origin.limits
        kept, dropped = _kept(attributes, limits.event_attributes, limits.other_length)
        if self.events_kept is None:
            self.events_kept = []
        self.events_kept.append(SpanEvent(moment, name, kept, dropped))
        if len(self.events_kept) > limits.events:
            del self.events_kept[0]
            self.events_dropped += 1

    def add_link(self, context: SpanContext, attributes: AnyAttributes = None) -> None:
        """Link another span. One without an id, a state or attributes says nothing and is ignored."""
        if self.end_time is not None:
            _ENDED.warn("a link was added to a span that has ended")
            return
        if not _says_something(context, attributes):
            return
        limits = self.origin.limits
        kept, dropped = _kept(attributes, limits.link_attributes, limits.other_length)
        if self.links_kept is None:
            self.links_kept = []
        self.links_kept.append(SpanLink(context, kept, dropped))
        if len(self.links_kept) > limits.links:
            del self.links_kept[0]
            self.links_dropped += 1

    def add_links(self, links: Sequence[trace.Link | None]) -> None:
        """Add links that were given at the start, where the API lets one be missing."""
        for link in links:
            if link is not None:
                self.add_link(link.context, link.attributes)

    def update_name(self, name: str) -> None:
        """Give it another name."""
        if self.end_time is not None:
            _ENDED.warn("a span that has ended was renamed")
            return
        self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status. OK is final, and UNSET sets nothing, as the specification says.

        Source: https://opentelemetry.io/docs/specs/otel/trace/api/#set-status.
        """
        if self.end_time is not None:
            _ENDED.warn("a status was set on a span that has ended")
            return
        code = status.status_code if isinstance(status, Status) else status
        if self.status.status_code is StatusCode.OK or code is StatusCode.UNSET:
            return
        self.status = status if isinstance(status, Status) else Status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: AnyAttributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Record an exception as an event, with its type, message and traceback."""
        kind = type(exception)
        module = kind.__module__
        described: dict[str, AnyValue] = {
            EXCEPTION_TYPE: kind.__qualname__
            if module in {"", "builtins"}
            else f"{module}.{kind.__qualname__}",
            EXCEPTION_MESSAGE: message_of(exception),
            EXCEPTION_STACKTRACE: _stacktrace_of(exception),
            EXCEPTION_ESCAPED: str(escaped),
        }
        if attributes:
            described.update(attributes)
        self.add_event("exception", described, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """End it, now or at ``end_time``, in nanoseconds since the epoch; once, and then for good."""
        moment = time.time_ns() if end_time is None else end_time
        # No other thread runs between this look and the assignment, for nothing is called in between.
        if self.end_time is not None:
            _ENDED.warn("a span was ended twice")
            return
        self.end_time = moment
        origin = self.origin
        if origin.processors.any:
            origin.processors.on_end(self)
        if self.sampled:
            if origin.open_spans is not None:
                origin.open_spans.pop(self.context.span_id, None)
            origin.export(self)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """End it; before that, record the exception that leaves its block."""
        if exc_val is not None:
            records, sets_status = self.on_exception
            self.fail(exc_val, records=records, sets_status=sets_status, escaped=True)
        self.end()

    def fail(
        self, exception: BaseException, *, records: bool, sets_status: bool, escaped: bool
    ) -> None:
        """Record an exception that left the span's block, unless it has ended.

        Args:
            exception: what left it.
            records: whether it becomes an event.
            sets_status: whether the status becomes ERROR.
            escaped: what the event says about ``exception.escaped``.
        """
        if self.end_time is not None:
            return
        if records:
            self.record_exception(exception, escaped=escaped)
        if sets_status:
            text = f"{type(exception).__name__}: {message_of(exception)}"
            self.set_status(Status(StatusCode.ERROR, text))

    # --- what else processors and exporters of the SDK read --------------------------------

    @property
    def attributes(self) -> Mapping[str, AnyValue]:
        """A view of the attributes."""
        return MappingProxyType(self.attributes_kept)

    @property
    def events(self) -> Sequence["Event"]:
        """The events as the SDK has them."""
        from linkspan_tracing.reading import events_of  # noqa: PLC0415 - for who reads spans

        return events_of(self)

    @property
    def links(self) -> Sequence[trace.Link]:
        """The links as the API has them."""
        from linkspan_tracing.reading import links_of  # noqa: PLC0415 - as above

        return links_of(self)

    @property
    def resource(self) -> Resource:
        """The resource of its provider."""
        return self.origin.resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        """The scope of its tracer."""
        return self.origin.scope

    def __repr__(self) -> str:
        return f"LeanSpan(name={self.name!r}, context={self.context!r})"


def _says_something(context: SpanContext | None, attributes: AnyAttributes) -> bool:
    return context is not None and bool(context.is_valid or attributes or context.trace_state)


def _kept(
    attributes: Mapping[str, AnyValue] | None, most: int, longest: int | None
) -> tuple[Attributes, int]:
    """Return what can be kept of attributes, and how many cannot."""
    if not attributes:
        return {}, 0
    try:
        kept, dropped = limiting.bounded(attributes, most, longest)
    except Exception:  # noqa: BLE001 - what is no mapping, or one that somebody changes meanwhile
        kept, dropped = {}, 1
    if dropped:
        _tell_dropped(dropped)
    return kept, dropped


def _tell_dropped(dropped: int) -> None:
    _DROPPED.warn("%d attributes were dropped: too many, or of a type that cannot be sent", dropped)


def message_of(exception: BaseException) -> str:
    """Return the text of an exception, whatever its own methods do."""
    try:
        return str(exception)
    except Exception:  # noqa: BLE001 - somebody else's __str__
        return f"<{type(exception).__name__} without a text>"


def _stacktrace_of(exception: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(exception))
    except Exception:  # noqa: BLE001 - as above
        return ""
