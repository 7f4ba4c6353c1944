"""Spans that were lost: how many, and why.

Owns the counts, the metric that reads them and the log line that says them. Above lie the exporter
and the processors, which count; the provider shows the counts.

Invariants: counting costs a dictionary entry under a lock that nobody holds for long, and is done
only where a span is lost; the metric is read, never pushed, so that a lost span costs no metric call.
"""

import logging
import threading
import time
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from linkspan_tracing.rarely import INTERVAL_SECONDS

_LOGGER: Final = logging.getLogger(__name__)

METRIC: Final = "linkspan.telemetry.dropped_spans"
"""Name of the counter of lost spans; its attribute ``reason`` is a ``Reason``."""

Reason: TypeAlias = Literal[
    "queue_full",
    "export_failed",
    "rejected",
    "encoding_failed",
    "processor_failed",
    "shutdown",
]
"""Why a span was lost.

``queue_full``: more ended than could be sent. ``export_failed``: the receiver was not there, too slow
or refused the batch. ``rejected``: it took the batch without these (OTLP's partial success).
``encoding_failed``: a field has a value that OTLP cannot carry. ``processor_failed``: a span processor
raised; only that processor lost the span. ``shutdown``: ended too late to be sent.
"""


class Losses:
    """How many spans were lost for which reason. Safe to use from any thread.

    Args:
        interval_seconds: the shortest time between two log lines.
    """

    def __init__(self, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Reason, int] = {}
        self._told: dict[Reason, int] = {}
        self._why = ""
        self._interval_seconds = interval_seconds
        self._due = float("-inf")

    def count(self, reason: Reason, spans: int = 1, why: str = "") -> None:
        """Count lost spans.

        Args:
            reason: the kind of loss.
            spans: how many.
            why: more about it, for the log line; the last one is told.
        """
        with self._lock:
            self._counts[reason] = self._counts.get(reason, 0) + spans
            if why:
                self._why = why

    def counts(self) -> dict[Reason, int]:
        """Return how many were lost so far, by reason. A reason without losses is not there."""
        with self._lock:
            return dict(self._counts)

    def measure(self, meter: Meter) -> None:
        """Have a metric read these counts."""

        def observe(options: CallbackOptions) -> Iterable[Observation]:
            del options
            return [Observation(lost, {"reason": why}) for why, lost in self.counts().items()]

        meter.create_observable_counter(
            METRIC,
            callbacks=[observe],
            unit="{span}",
            description="Spans that were recorded and did not reach where they were to go.",
        )

    def report(self, *, now: bool = False) -> None:
        """Log what was lost since the last line, if it is time for one.

        Args:
            now: log it in any case, because there is no later.
        """
        instant = time.monotonic()
        with self._lock:
            if self._counts == self._told or not (now or instant >= self._due):
                return
            lost = {
                reason: count - self._told.get(reason, 0)
                for reason, count in self._counts.items()
                if count != self._told.get(reason, 0)
            }
            self._told = dict(self._counts)
            self._due = instant + self._interval_seconds
            why, self._why = self._why, ""
        total = sum(lost.values())
        _LOGGER.warning(
            "lost %d span%s: %s%s",
            total,
            "" if total == 1 else "s",
            ", ".join(f"{reason} {count}" for reason, count in sorted(lost.items())),
            f" ({why})" if why else "",
        )
