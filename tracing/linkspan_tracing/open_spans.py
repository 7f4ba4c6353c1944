"""Which spans are open for long: these get a start marker.

Owns the table of open spans and the thread that looks at it. Above lie the provider, whose spans enter
and leave the table, and ``MarkingProcessor``, which does the same for a provider of the SDK; below lies
``markers``.

Invariants: to start and to end a span costs one entry of a dictionary and nothing else; a span has one
marker at most; a span that never ends leaves the table all the same; whatever a marker meets, nobody
but it is harmed.
"""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

from linkspan_tracing.markers import export_start
from linkspan_tracing.rarely import RareWarning

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider

_LOGGER: Final = logging.getLogger(__name__)
_FAILED: Final = RareWarning(_LOGGER)
_FLUSH_MILLIS: Final = 5_000
_JOIN_SECONDS: Final = 0.2

OpenSpans: TypeAlias = dict[int, trace.Span]
"""The open spans that have no marker yet, by span id. Each change is one step of the interpreter."""


class MarkerThread:
    """Looks at the open spans over and over, and marks those that it sees a second time.

    So a span that is open for twice the time between two looks has a marker for certain, and one that
    is open for less than once that time never has.

    Args:
        spans: the table; others put spans in and take them out.
        tracer: starts the markers.
        send: called after a look that made some, to have them sent.
        every_seconds: the time between two looks.
    """

    def __init__(
        self,
        spans: OpenSpans,
        tracer: trace.Tracer,
        send: Callable[[], object],
        every_seconds: float,
    ) -> None:
        self._spans = spans
        self._tracer = tracer
        self._send = send
        self._every_seconds = every_seconds
        self._seen: frozenset[int] = frozenset()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="linkspan-markers", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking. What is being sent right now is not waited for."""
        self._stopping.set()
        self._thread.join(_JOIN_SECONDS)

    def look(self) -> int:
        """Look once; returns how many markers were made."""
        open_now = list(self._spans.items())
        long_open = [(key, span) for key, span in open_now if key in self._seen]
        self._seen = frozenset(key for key, _ in open_now)
        marked = 0
        for key, span in long_open:
            self._spans.pop(key, None)
            marked += export_start(self._tracer, span)
        return marked

    def _run(self) -> None:
        while not self._stopping.wait(self._every_seconds):
            try:
                if self.look():
                    self._send()
            except Exception:  # noqa: BLE001 - it is logged, rarely
                _FAILED.warn("long spans were not marked", exc_info=True)


class MarkingProcessor(SpanProcessor):
    """Marks the long spans of a provider of OpenTelemetry's SDK, to which it is to be added.

    Args:
        provider: whose spans these are. Its shutdown stops the thread.
        every_seconds: as for ``MarkerThread``.
    """

    def __init__(self, provider: "TracerProvider", every_seconds: float) -> None:
        self._spans: OpenSpans = {}
        self._thread = MarkerThread(
            self._spans,
            provider.get_tracer("linkspan_tracing"),
            lambda: provider.force_flush(_FLUSH_MILLIS),
            every_seconds,
        )

    def on_start(self, span: "Span", parent_context: "Context | None" = None) -> None:
        """Note a span that is sampled."""
        del parent_context
        context = span.get_span_context()
        if context.trace_flags.sampled:
            self._spans[context.span_id] = span

    def on_end(self, span: "ReadableSpan") -> None:
        """Forget a span."""
        context = span.get_span_context()
        if context is not None:
            self._spans.pop(context.span_id, None)

    def shutdown(self) -> None:
        """Stop looking."""
        self._thread.stop()

    def force_flush(self, timeout_millis: int = _FLUSH_MILLIS) -> bool:
        """Nothing waits here."""
        del timeout_millis
        return True
