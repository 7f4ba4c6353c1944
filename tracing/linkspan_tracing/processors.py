"""Span processors of OpenTelemetry's SDK, for libraries that bring one.

Owns calling them, and that one which raises costs itself a span and nobody else anything. Above lie
the tracer and the span; ``reading`` makes what a processor reads.

A processor is called where a span starts and ends, in the caller's thread, as the SDK does it: its time
is the caller's time, and what a processor costs is not this library's to save.
"""

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import Context

from linkspan_tracing.losses import Losses
from linkspan_tracing.rarely import RareWarning

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from linkspan_tracing.span import LeanSpan

_LOGGER: Final = logging.getLogger(__name__)
_RAISED: Final = RareWarning(_LOGGER)


class Processors:
    """The processors of one provider, in the order in which they were added.

    Attributes:
        any: whether there is one.
    """

    def __init__(self, losses: Losses) -> None:
        self.any = False
        self._all: tuple[SpanProcessor, ...] = ()
        self._losses = losses
        self._lock = threading.Lock()

    def add(self, processor: "SpanProcessor") -> None:
        """Have a processor hear of spans that start from now on."""
        with self._lock:
            self._all = (*self._all, processor)
            self.any = True

    def on_start(self, span: "LeanSpan", parent_context: Context | None) -> None:
        """Tell all that a span has started."""
        # A processor reads and sets what the API and ReadableSpan name, and a lean span has both.
        started: Any = span
        for processor in self._all:
            try:
                processor.on_start(started, parent_context)
            except Exception:  # noqa: BLE001 - it is logged, rarely
                self._raised()

    def on_end(self, span: "LeanSpan") -> None:
        """Tell all that a span has ended."""
        from linkspan_tracing.reading import readable  # noqa: PLC0415 - for who has a processor

        try:
            ended = readable(span)
        except Exception:  # noqa: BLE001 - it is logged, rarely
            self._raised()
            return
        for processor in self._all:
            try:
                processor.on_end(ended)
            except Exception:  # noqa: BLE001 - it is logged, rarely
                self._raised()

    def _raised(self) -> None:
        self._losses.count("processor_failed")
        _RAISED.warn("a span processor raised", exc_info=True)

    def force_flush(self, timeout_seconds: float) -> bool:
        """Flush all, one after the other, and return whether all said in time that they did."""
        deadline = time.monotonic() + timeout_seconds
        flushed = True
        for processor in self._all:
            remaining_millis = int((deadline - time.monotonic()) * 1000)
            if remaining_millis <= 0:
                return False
            try:
                # One that returns nothing has nothing to complain of, as the SDK reads it.
                flushed = processor.force_flush(remaining_millis) is not False and flushed
            except Exception:  # noqa: BLE001 - it is logged, rarely
                _RAISED.warn("a span processor raised", exc_info=True)
                flushed = False
        return flushed

    def shutdown(self) -> None:
        """Shut all down, one after the other. How long that takes is up to them."""
        for processor in self._all:
            try:
                processor.shutdown()
            except Exception:  # noqa: BLE001 - it is logged, rarely
                _RAISED.warn("a span processor raised", exc_info=True)
