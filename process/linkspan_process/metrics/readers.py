"""Who reads the metrics of a process: the endpoint, when it is asked, and OTLP, now and then.

Owns the SDK's readers with the lean histograms put in. Above lies `meters`; below lie the SDK and
its exporters.

Source: https://opentelemetry.io/docs/specs/otel/metrics/sdk/#metricreader.
"""

import threading
from collections.abc import Mapping
from typing import Any, Final

import grpc
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)

from linkspan_process.errors import StartError
from linkspan_process.metrics.histograms import LeanMeterProvider, Seen
from linkspan_process.signals import SignalSettings

_TEMPORALITY: Final = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
_AGGREGATION: Final = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"


def wants_other_histograms(environ: Mapping[str, str]) -> bool:
    """Tell whether exponential histograms are asked for, which only the SDK's own can be."""
    return environ.get(_AGGREGATION, "").strip() == "base2_exponential_bucket_histogram"


class ScrapedReader(MetricReader):
    """Collects when it is asked; all is told as totals.

    Attributes:
        lean: What was counted beside the SDK.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lean: LeanMeterProvider | None = None
        self._lock = threading.Lock()
        self._data = MetricsData([])

    def read(self) -> MetricsData:
        """Collect, and return it."""
        with self._lock:
            self._data = MetricsData([])
            self.collect()
            data = self._data
        return data if self.lean is None else self.lean.with_histograms(data, None)

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> None:
        del timeout_millis, kwargs
        self._data = metrics_data

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """See `MetricReader.shutdown`."""


class SentReader(PeriodicExportingMetricReader):
    """Sends now and then, with what was counted beside the SDK.

    Attributes:
        lean: What was counted beside the SDK.
    """

    def __init__(self, exporter: MetricExporter, *, differences: bool) -> None:
        self.lean: LeanMeterProvider | None = None
        self._seen: Seen | None = {} if differences else None
        super().__init__(exporter)

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> None:
        if self.lean is not None:
            metrics_data = self.lean.with_histograms(metrics_data, self._seen)
        super()._receive_metrics(  # pyright: ignore[reportUnknownMemberType] - the SDK's is untyped
            metrics_data, timeout_millis, **kwargs
        )


def otlp_reader(settings: SignalSettings, environ: Mapping[str, str]) -> SentReader:
    """Make the reader that sends over OTLP, as often as `OTEL_METRIC_EXPORT_INTERVAL` says.

    Raises:
        StartError: An exporter does not take what the environment says.
    """
    differences = environ.get(_TEMPORALITY, "").strip().lower() in {"delta", "lowmemory"}
    try:
        return SentReader(_exporter(settings), differences=differences)
    except Exception as error:
        told = " ".join(str(error).split())
        raise StartError(f"OTEL_* variables for metrics cannot be used: {told}") from error


def _exporter(settings: SignalSettings) -> MetricExporter:
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as over_grpc  # noqa: PLC0415

        return over_grpc.OTLPMetricExporter(
            endpoint=settings.endpoint,
            compression=grpc.Compression.Gzip if settings.gzips else grpc.Compression.NoCompression,
        )
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http import metric_exporter as over_http  # noqa: PLC0415

    return over_http.OTLPMetricExporter(
        endpoint=settings.endpoint,
        compression=Compression.Gzip if settings.gzips else Compression.NoCompression,
    )
