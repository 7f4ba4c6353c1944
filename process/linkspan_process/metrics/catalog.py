"""How a metric is declared: one value each, of which the instrument and the documentation are made.

Pure but for the instruments, which are OpenTelemetry's API: without a meter provider they do
nothing. Above lie the services, each with a table of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation

Kind: TypeAlias = Literal["histogram", "counter", "gauge"]

OURS: Final = "docs/metrics.md"
"""The source of a name that is Linkspan's own."""

DURATION_BUCKETS_SECONDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
"""Upper bounds of the buckets of HTTP and RPC durations.

Source: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is declared.

    Attributes:
        name: Its name; ours begin with `linkspan.`.
        kind: `histogram`; `counter`, which only grows; or `gauge`, which is what it is now.
        unit: In UCUM, as OpenTelemetry has it: `s`, `By`, or what is counted in braces.
        meaning: One sentence.
        attributes: The names of its attributes; each has few values, whatever callers do.
        source: Where the name comes from.
        buckets: The upper bounds of a histogram's buckets.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    attributes: tuple[str, ...] = ()
    source: str = OURS
    buckets: tuple[float, ...] = ()


def counter(meter: Meter, metric: Metric) -> Counter:
    """Make the counter of a metric, for what happens seldom: each count costs microseconds."""
    return meter.create_counter(metric.name, metric.unit, metric.meaning)


def histogram(meter: Meter, metric: Metric) -> Histogram:
    """Make the histogram of a metric."""
    return meter.create_histogram(
        metric.name,
        metric.unit,
        metric.meaning,
        explicit_bucket_boundaries_advisory=metric.buckets,
    )


Values: TypeAlias = Callable[[], "int | Iterable[tuple[int, dict[str, str]]]"]
"""Reads the values of a metric: one number, or several, each with its attributes."""


def observe(meter: Meter, metric: Metric, read: Values) -> None:
    """Have a counter or gauge read when it is asked for, and not when something happens.

    Args:
        meter: Whose instrument it becomes.
        metric: A counter or a gauge.
        read: Called by whoever collects, in a thread of its own: it reads what changes meanwhile.
    """

    def callback(options: CallbackOptions) -> Sequence[Observation]:
        del options
        values = read()
        if isinstance(values, int):
            return [Observation(values)]
        return [Observation(value, attributes) for value, attributes in values]

    create = (
        meter.create_observable_counter
        if metric.kind == "counter"
        else meter.create_observable_gauge
    )
    create(metric.name, callbacks=[callback], unit=metric.unit, description=metric.meaning)
