"""What Prometheus reads: metrics as text, in its own format or in OpenMetrics, which has exemplars.

Pure: collected metrics in, text out. Above lies `endpoint`.

Sources: https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/ for names,
labels and types; https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md for the formats.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    Sum,
)

TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_OPEN_METRICS: Final = "application/openmetrics-text"
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_:]+")
_NOT_IN_LABELS: Final = re.compile(r"[^a-zA-Z0-9]+")  # two underscores begin reserved names
_BOUND: Final = "le"
"""The label of a bucket that says its upper bound."""

_UNITS: Final[Mapping[str, str]] = {
    "s": "seconds",
    "ms": "milliseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
}


def wants_open_metrics(accept: str) -> bool:
    """Tell whether an `Accept` header prefers OpenMetrics (RFC 9110, section 12.5.1)."""
    best, best_text = 0.0, 0.0
    for offer in accept.split(","):
        kind, *parameters = (part.strip() for part in offer.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        if kind.lower() == _OPEN_METRICS:
            best = max(best, quality)
        elif kind.lower() == "text/plain":
            best_text = max(best_text, quality)
    return best > 0.0 and best >= best_text


def metrics_text(data: MetricsData, *, open_metrics: bool) -> str:
    """Write collected metrics.

    Args:
        data: What a reader received, with totals and not with differences.
        open_metrics: Whether in OpenMetrics 1.0, else in Prometheus' own format 0.0.4.
    """
    families: dict[str, _Family] = {}
    resource: Mapping[str, Any] = {}
    for of_resource in data.resource_metrics:
        resource = of_resource.resource.attributes
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                _add(families, metric, of_scope.scope.name)
    lines: list[str] = []
    if resource:
        labels = _labels(resource.items())
        lines += _head("target" if open_metrics else "target_info", "info", "", open_metrics)
        lines.append(f"target_info{labels} 1")
    for family in families.values():
        lines += family.lines(open_metrics=open_metrics)
    if open_metrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


@dataclass(slots=True)
class _Family:
    """All samples of one name."""

    name: str
    kind: str
    meaning: str
    unit: str
    points: list[tuple[str, NumberDataPoint | HistogramDataPoint]] = field(
        default_factory=list[tuple[str, NumberDataPoint | HistogramDataPoint]]
    )

    def lines(self, *, open_metrics: bool) -> list[str]:
        name = self.name
        if self.kind == "counter" and not open_metrics:  # there the suffix is part of the name
            name += "_total"
        lines = _head(name, self.kind, self.meaning, open_metrics)
        if open_metrics and self.unit:
            lines.append(f"# UNIT {name} {self.unit}")
        for scope, point in self.points:
            labels = [("otel_scope_name", scope), *(point.attributes or {}).items()]
            if isinstance(point, HistogramDataPoint):
                lines += self._histogram(point, labels, open_metrics=open_metrics)
            elif self.kind == "counter":
                last = _exemplar(point.exemplars[-1:]) if open_metrics else ""
                lines.append(f"{self.name}_total{_labels(labels)} {point.value}{last}")
            else:
                lines.append(f"{self.name}{_labels(labels)} {point.value}")
        return lines

    def _histogram(
        self, point: HistogramDataPoint, labels: list[tuple[str, Any]], *, open_metrics: bool
    ) -> list[str]:
        lines: list[str] = []
        below, smaller = 0, float("-inf")
        bounds = (*point.explicit_bounds, float("inf"))
        for bound, count in zip(bounds, point.bucket_counts, strict=True):
            below += count
            shown = "+Inf" if bound == float("inf") else str(float(bound))
            inside = [each for each in point.exemplars if smaller < each.value <= bound]
            last = _exemplar(inside[-1:]) if open_metrics else ""
            bucket = _labels(labels)[:-1] + f',{_BOUND}="{shown}"}}'
            lines.append(f"{self.name}_bucket{bucket} {below}{last}")
            smaller = bound
        shared = _labels(labels)
        lines.append(f"{self.name}_count{shared} {point.count}")
        lines.append(f"{self.name}_sum{shared} {point.sum}")
        return lines


def _add(families: dict[str, _Family], metric: Metric, scope: str) -> None:
    kind = "gauge"
    if isinstance(metric.data, Histogram):
        kind = "histogram"
    elif isinstance(metric.data, Sum) and metric.data.is_monotonic:
        kind = "counter"
    elif not isinstance(metric.data, (Sum, Gauge)):
        return  # an exponential histogram, which text cannot say
    name, unit = _name(metric.name, metric.unit or "", kind)
    family = families.setdefault(name, _Family(name, kind, metric.description or "", unit))
    if family.kind == kind:  # else two scopes mean different things by one name: the first has it
        family.points += [(scope, point) for point in metric.data.data_points]


@lru_cache(1024)
def _name(name: str, unit: str, kind: str) -> tuple[str, str]:
    """Return the name that Prometheus knows a metric by, without `_total`, and its unit."""
    known = re.sub(r"__+", "_", _NOT_IN_NAMES.sub("_", name)).strip("_")
    if known[:1].isdigit():
        known = f"_{known}"
    suffix = _UNITS.get(unit, "")
    if unit == "1" and kind == "gauge":
        suffix = "ratio"
    if kind == "counter":
        known = known.removesuffix("_total")
    if suffix and not known.endswith(f"_{suffix}"):
        known = f"{known}_{suffix}"
    return known, suffix


def _head(name: str, kind: str, meaning: str, open_metrics: bool) -> list[str]:
    told = meaning.replace("\\", "\\\\").replace("\n", "\\n")
    if open_metrics:
        told = told.replace('"', '\\"')
    elif kind == "info":
        kind = "gauge"
    lines = [f"# TYPE {name} {kind}"]
    return [f"# HELP {name} {told}", *lines] if told else lines


def _labels(pairs: Iterable[tuple[str, Any]]) -> str:
    labels: dict[str, str] = {}
    for key, value in pairs:
        label = _label(key)
        # Two attributes may come to the same label; the specification joins their values.
        text = _text(value)
        labels[label] = f"{labels[label]};{text}" if label in labels else text
    if not labels:
        return ""
    return "{" + ",".join(f'{label}="{text}"' for label, text in labels.items()) + "}"


@lru_cache(1024)
def _label(key: str) -> str:
    label = _NOT_IN_LABELS.sub("_", key)
    if label == _BOUND:
        return f"exported_{_BOUND}"
    return f"key_{label}" if label[:1].isdigit() else label


def _text(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    if isinstance(value, bool):
        text = text.lower()
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _exemplar(exemplars: Iterable[Exemplar]) -> str:
    for each in exemplars:
        if each.trace_id:
            ids = f'{{trace_id="{each.trace_id:032x}",span_id="{each.span_id or 0:016x}"}}'
            return f" # {ids} {each.value} {each.time_unix_nano / 1e9:.3f}"
    return ""
