"""Histograms that cost little: what a request records, at a tenth of what the SDK takes for it.

Owns the counts, in the shape that the SDK's exporters and readers take, and a meter provider that
hands out such histograms and the SDK's own instruments for all else. Above lie the instruments of
the services and `linkspan_propagation`; below lies the SDK.

Invariants: a histogram has at most `_MAX_SERIES` combinations of attributes, what is over them is
counted together; a bucket keeps one exemplar, the first of a sampled span after the last collection,
until another one replaces it; nothing here waits for anybody.

Source: https://opentelemetry.io/docs/specs/otel/metrics/sdk/.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackT, Meter
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import get_current_span
from opentelemetry.util.types import Attributes

_MAX_SERIES: Final = 2000
"""As many as the SDK keeps of one instrument."""

_OVERFLOW: Final[dict[str, Any]] = {"otel.metric.overflow": True}

_DEFAULT_BOUNDS: Final = (
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0,
    10000.0,
)  # fmt: skip
"""The specification's, for an instrument that names none."""

Seen: TypeAlias = dict[int, tuple[tuple[int, ...], float, int]]
"""What a reader that wants differences was told last, by series: counts, sum, and when."""


class _Series:
    """The counts of one combination of attributes."""

    __slots__ = ("attributes", "counts", "exemplars", "fresh", "max", "min", "sum")

    def __init__(self, attributes: dict[str, Any], buckets: int) -> None:
        self.attributes = attributes
        self.counts = [0] * buckets
        self.exemplars: list[Exemplar | None] = [None] * buckets
        self.fresh = [False] * buckets
        """Whether a bucket's exemplar has come since the last collection; else the next one counts."""
        self.sum = 0.0
        self.min = float("inf")
        self.max = float("-inf")


class LeanHistogram(metrics.Histogram):
    """Counts values in buckets. Safe to use from any thread."""

    def __init__(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
        *,
        exemplars: bool = True,
    ) -> None:
        # The base has nothing to set up, and cannot be called.
        self._exemplars = exemplars
        self._name, self._unit, self._description = name, unit, description
        self._bounds = tuple(explicit_bucket_boundaries_advisory or _DEFAULT_BOUNDS)
        self._series: dict[object, _Series] = {}
        self._distinct: dict[object, _Series] = {}
        self._lock = threading.Lock()
        self._begun_nanos = time.time_ns()

    def record(
        self,
        amount: float,
        attributes: Attributes = None,
        context: Context | None = None,
    ) -> None:
        """Count a value.

        Args:
            amount: The value; one below zero is not counted.
            attributes: Its attributes; values are texts, numbers or booleans.
            context: Whose span becomes the exemplar; None for the current context.
        """
        if amount < 0:
            return
        key = (*attributes, *attributes.values()) if attributes else ()
        series = self._series.get(key) or self._new(key, attributes)
        index = bisect_left(self._bounds, amount)
        with self._lock:
            series.counts[index] += 1
            series.sum += amount
            if amount < series.min:  # noqa: PLR1730 - a call costs more
                series.min = amount
            if amount > series.max:  # noqa: PLR1730 - as above
                series.max = amount
        if self._exemplars and not series.fresh[index]:
            span = get_current_span(context).get_span_context()
            if span.trace_flags.sampled:
                series.exemplars[index] = Exemplar(
                    {}, amount, time.time_ns(), span.span_id, span.trace_id
                )
                series.fresh[index] = True

    def _new(self, key: object, attributes: Attributes) -> _Series:
        """Find the series of attributes that come for the first time, or in another order."""
        with self._lock:
            kept = dict(attributes or {})
            distinct = frozenset(kept.items())
            series = self._distinct.get(distinct)
            if series is None:
                if len(self._distinct) >= _MAX_SERIES - 1:
                    kept, distinct = dict(_OVERFLOW), frozenset(_OVERFLOW.items())
                    series = self._distinct.get(distinct)
                    if series is None:
                        series = self._distinct[distinct] = _Series(kept, len(self._bounds) + 1)
                    return series  # the key is not kept: callers could make up any number of them
                series = self._distinct[distinct] = _Series(kept, len(self._bounds) + 1)
            if len(self._series) < 2 * _MAX_SERIES:
                self._series[key] = series
            return series

    def collect(self, seen: Seen | None) -> Metric | None:
        """Return what was counted; None if that is nothing.

        Args:
            seen: What a reader that wants differences was told before, and is told now; None for a
                reader that wants all since the beginning.
        """
        now = time.time_ns()
        with self._lock:
            points = [
                self._point(series, now, seen)
                for series in self._distinct.values()
                if seen is None or _total(seen, series) != sum(series.counts)
            ]
        if not points:
            return None
        temporality = AggregationTemporality
        kind = temporality.CUMULATIVE if seen is None else temporality.DELTA
        return Metric(self._name, self._description, self._unit, Histogram(points, kind))

    def _point(self, series: _Series, now: int, seen: Seen | None) -> HistogramDataPoint:
        series.fresh = [False] * len(series.counts)
        begun, counts, total = self._begun_nanos, tuple(series.counts), series.sum
        smallest, largest = series.min, series.max
        if seen is not None:
            before, sum_before, begun = seen.get(id(series), ((0,) * len(counts), 0.0, begun))
            seen[id(series)] = (counts, total, now)
            counts = tuple(all_ - old for all_, old in zip(counts, before, strict=True))
            total -= sum_before
            series.min, series.max = float("inf"), float("-inf")
        exemplars = [
            each for each in series.exemplars if each is not None and each.time_unix_nano >= begun
        ]
        return HistogramDataPoint(
            attributes=series.attributes,
            start_time_unix_nano=begun,
            time_unix_nano=now,
            count=sum(counts),
            sum=total,
            bucket_counts=counts,
            explicit_bounds=self._bounds,
            min=smallest,
            max=largest,
            exemplars=exemplars,
        )


def _total(seen: Seen, series: _Series) -> int:
    before = seen.get(id(series))
    return 0 if before is None else sum(before[0])


class LeanMeterProvider(metrics.MeterProvider):
    """Hands out lean histograms, and the instruments of another provider for all else."""

    def __init__(self, behind: metrics.MeterProvider, *, exemplars: bool = True) -> None:
        """Make a provider.

        Args:
            behind: Makes all that is no histogram.
            exemplars: Whether histograms keep exemplars, of sampled spans.
        """
        self._behind = behind
        self._exemplars = exemplars
        self._histograms: dict[InstrumentationScope, dict[str, LeanHistogram]] = {}
        self._lock = threading.Lock()

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Meter:
        """See `MeterProvider.get_meter`."""
        scope = InstrumentationScope(name, version, schema_url, attributes)
        with self._lock:
            histograms = self._histograms.setdefault(scope, {})
        behind = self._behind.get_meter(name, version, schema_url, attributes)
        return _LeanMeter(behind, histograms, exemplars=self._exemplars)

    def with_histograms(self, data: MetricsData, seen: Seen | None) -> MetricsData:
        """Return what the SDK collected and what was counted here.

        Args:
            data: Of the provider behind.
            seen: As for `LeanHistogram.collect`.
        """
        with self._lock:
            scopes = {scope: tuple(each.values()) for scope, each in self._histograms.items()}
        added: list[ScopeMetrics] = []
        for scope, histograms in scopes.items():
            collected = [
                metric for each in histograms if (metric := each.collect(seen)) is not None
            ]
            if collected:
                added.append(ScopeMetrics(scope, collected, scope.schema_url or ""))
        first, *others = data.resource_metrics or (ResourceMetrics(Resource({}), [], ""),)
        merged = ResourceMetrics(first.resource, [*first.scope_metrics, *added], first.schema_url)
        return MetricsData([merged, *others])


class _LeanMeter(Meter):
    """A meter of the SDK but for its histograms."""

    def __init__(
        self, behind: Meter, histograms: dict[str, LeanHistogram], *, exemplars: bool
    ) -> None:
        super().__init__(behind.name, behind.version, behind.schema_url)
        self._behind = behind
        self._histograms = histograms
        self._exemplars = exemplars

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> metrics.Histogram:
        made = LeanHistogram(
            name, unit, description, explicit_bucket_boundaries_advisory, exemplars=self._exemplars
        )
        return self._histograms.setdefault(name, made)

    def create_counter(self, name: str, unit: str = "", description: str = "") -> metrics.Counter:
        return self._behind.create_counter(name, unit, description)

    def create_up_down_counter(
        self, name: str, unit: str = "", description: str = ""
    ) -> metrics.UpDownCounter:
        return self._behind.create_up_down_counter(name, unit, description)

    def create_observable_counter(
        self,
        name: str,
        callbacks: Sequence[CallbackT] | None = None,
        unit: str = "",
        description: str = "",
    ) -> metrics.ObservableCounter:
        return self._behind.create_observable_counter(name, callbacks, unit, description)

    def create_observable_gauge(
        self,
        name: str,
        callbacks: Sequence[CallbackT] | None = None,
        unit: str = "",
        description: str = "",
    ) -> metrics.ObservableGauge:
        return self._behind.create_observable_gauge(name, callbacks, unit, description)

    def create_observable_up_down_counter(
        self,
        name: str,
        callbacks: Sequence[CallbackT] | None = None,
        unit: str = "",
        description: str = "",
    ) -> metrics.ObservableUpDownCounter:
        return self._behind.create_observable_up_down_counter(name, callbacks, unit, description)
