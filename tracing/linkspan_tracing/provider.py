"""The tracer provider, and making one from the environment.

Owns what belongs to all tracers of a process: resource, limits, sampler, processors and the exporter.
Above lies the process's set-up. What sends, and how, is imported where something is to be sent.
"""

import threading
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.resources import (
    TELEMETRY_SDK_LANGUAGE,
    TELEMETRY_SDK_NAME,
    TELEMETRY_SDK_VERSION,
    Resource,
)
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.util.types import Attributes

from linkspan_tracing.errors import TracingConfigurationError
from linkspan_tracing.limits import SpanLimits
from linkspan_tracing.losses import Losses, Reason
from linkspan_tracing.open_spans import MarkerThread, OpenSpans
from linkspan_tracing.processors import Processors
from linkspan_tracing.sampling import Rule, sampler_from_env, untrusting
from linkspan_tracing.settings import Batching, Destination
from linkspan_tracing.span import LeanSpan, Origin
from linkspan_tracing.tracer import Ids, LeanTracer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from linkspan_tracing.exporter import BatchExporter
    from linkspan_tracing.sending import Sender

_NAME: Final = "linkspan_tracing"
_SHUTDOWN_MILLIS: Final = 5_000
_FLUSH_MILLIS: Final = 30_000


class LeanTracerProvider(trace.TracerProvider):
    """Tracers whose spans cost little, and are sent over OTLP by a thread.

    Args:
        resource: what all spans are of. Its ``telemetry.sdk.*`` are set here, to the name and
            version of what it is that records
            (https://opentelemetry.io/docs/specs/semconv/resource/#telemetry-sdk).
        sampler: which traces are recorded: a rule, which costs nothing, or a sampler of the SDK.
            Default: all, unless the parent's is not.
        limits: how much a span may hold.
        ids: where ids come from.
        sender: the way to the receiver. None sends nothing; processors hear of spans all the same.
        batching: when to send, and how much may wait.
        timeout_seconds: how long one request may take, with everything tried again.
        meter_provider: where ``linkspan.telemetry.dropped_spans`` is counted; the global one by
            default.
        disabled: whether its tracers record nothing at all (``OTEL_SDK_DISABLED``).
        markers_every_seconds: the time between two looks for spans that are open for long; those that
            are open at two looks in a row get a start marker. None for no markers.

    It is safe to use from any thread. It does nothing at exit by itself: whoever makes it shuts it
    down. Make it after forking.
    """

    def __init__(
        self,
        resource: Resource,
        *,
        sampler: Rule | Sampler | None = None,
        limits: SpanLimits | None = None,
        ids: IdGenerator | None = None,
        sender: "Sender | None" = None,
        batching: Batching | None = None,
        timeout_seconds: float = 10.0,
        meter_provider: MeterProvider | None = None,
        disabled: bool = False,
        markers_every_seconds: float | None = None,
    ) -> None:
        self._resource = resource.merge(Resource(_telemetry_sdk()))
        self._sampler = sampler or Rule()
        self._limits = limits or SpanLimits()
        self._ids = Ids.random() if ids is None else Ids.of(ids)
        self._disabled = disabled
        self._losses = Losses()
        self._losses.measure(metrics.get_meter(_NAME, meter_provider=meter_provider))
        self._processors = Processors(self._losses)
        self._exporter: BatchExporter | None = None
        if sender is not None:
            from linkspan_tracing import exporter  # noqa: PLC0415 - not loaded to send nothing

            self._exporter = exporter.BatchExporter(
                sender, self._resource, batching or Batching(), timeout_seconds, self._losses
            )
        self._tracers: dict[InstrumentationScope, LeanTracer] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Lock()
        self._stopped: bool | None = None
        self._open_spans: OpenSpans | None = None
        self._markers: MarkerThread | None = None
        if markers_every_seconds is not None and not disabled:
            self._open_spans = {}
            self._markers = MarkerThread(
                self._open_spans, self.get_tracer(_NAME), self.export_soon, markers_every_seconds
            )

    @property
    def resource(self) -> Resource:
        """What all spans are of."""
        return self._resource

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        """Return the tracer of an instrumentation scope, the same one each time."""
        if self._disabled:
            return trace.NoOpTracer()
        scope = InstrumentationScope(
            instrumenting_module_name or "",
            instrumenting_library_version or "",
            schema_url,
            attributes,
        )
        with self._lock:
            tracer = self._tracers.get(scope)
            if tracer is None:
                export = _keep_none if self._exporter is None else self._exporter.add
                origin = Origin(
                    scope,
                    self._resource,
                    self._limits,
                    self._processors,
                    export,
                    self._open_spans,
                )
                tracer = self._tracers[scope] = LeanTracer(origin, self._sampler, self._ids)
            return tracer

    def add_span_processor(self, span_processor: "SpanProcessor") -> None:
        """Have a processor of the SDK hear of spans that start from now on.

        It is called in the threads that start and end spans. One that raises is logged and counted.
        """
        self._processors.add(span_processor)

    def dropped_spans(self) -> dict[Reason, int]:
        """Return how many spans were lost so far, by reason. A reason without losses is not there."""
        return self._losses.counts()

    def export_soon(self) -> None:
        """Have the spans that have ended sent now and not when it is time. Returns at once."""
        if self._exporter is not None:
            self._exporter.send_soon()

    def force_flush(self, timeout_millis: int = _FLUSH_MILLIS) -> bool:
        """Wait until the spans that have ended are sent, or lost and counted. Blocks.

        Args:
            timeout_millis: the longest wait.

        Returns:
            Whether that was in time.
        """
        deadline = time.monotonic() + timeout_millis / 1000
        flushed = self._exporter is None or self._exporter.flush(timeout_millis / 1000)
        return self._processors.force_flush(max(0.001, deadline - time.monotonic())) and flushed

    def shutdown(self, timeout_millis: int = _SHUTDOWN_MILLIS) -> bool:
        """Send what is left, and stop. Blocks. A second call returns what the first one did.

        Args:
            timeout_millis: the longest that the exporter takes. Processors that were added are shut
                down first, and take what they take.

        Returns:
            Whether all that was left was sent, or refused, in time.
        """
        with self._stopping:
            if self._stopped is None:
                if self._markers is not None:
                    self._markers.stop()
                self._processors.shutdown()
                self._stopped = self._exporter is None or self._exporter.shutdown(
                    timeout_millis / 1000
                )
                self._losses.report(now=True)
            return self._stopped


def provider_from_env(
    environ: Mapping[str, str],
    resource: Resource,
    *,
    exports: bool = True,
    meter_provider: MeterProvider | None = None,
    markers_every_seconds: float | None = None,
    trusts_remote: bool = True,
) -> LeanTracerProvider:
    """Make a provider as the standard ``OTEL_*`` variables say.

    Args:
        environ: usually ``os.environ``: sampler, limits, batches, and where and how to send. Only a
            proxy for HTTP is looked for in the environment of the process itself.
        resource: as ``Resource.create`` of the SDK makes it, with ``service.name``.
        exports: whether to send over OTLP. Which exporters are asked for (``OTEL_TRACES_EXPORTER``) is
            for the caller to decide.
        meter_provider: where losses are counted; the global one by default.
        markers_every_seconds: as for ``LeanTracerProvider``.
        trusts_remote: whether a sampler that asks the parent asks one of another process, too; if
            not, it decides about the child of such a one as about a root.

    Raises:
        TracingConfigurationError: a variable has a value that cannot be honoured, or names a file that
            cannot be read.
    """
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    destination = Destination.from_env(environ)
    sampler = sampler_from_env(environ)
    return LeanTracerProvider(
        resource,
        sampler=sampler if trusts_remote else untrusting(sampler),
        limits=SpanLimits.from_env(environ),
        sender=_sender(destination) if exports and not disabled else None,
        batching=Batching.from_env(environ),
        timeout_seconds=destination.timeout_seconds,
        meter_provider=meter_provider,
        disabled=disabled,
        markers_every_seconds=markers_every_seconds,
    )


def _sender(destination: Destination) -> "Sender":
    try:
        if destination.protocol == "grpc":
            from linkspan_tracing.over_grpc import GrpcSender  # noqa: PLC0415 - one of the two

            return GrpcSender(destination)
        from linkspan_tracing.over_http import HttpSender  # noqa: PLC0415 - one of the two

        return HttpSender(destination)
    except (OSError, ValueError) as error:
        raise TracingConfigurationError(
            "OTEL_EXPORTER_OTLP_*CERTIFICATE, *_KEY", str(error), "files that can be read"
        ) from error


def _telemetry_sdk() -> dict[str, str]:
    try:
        own_version = version("linkspan")
    except PackageNotFoundError:  # run from a tree that is not installed
        own_version = ""
    return {
        TELEMETRY_SDK_LANGUAGE: "python",
        TELEMETRY_SDK_NAME: _NAME,
        TELEMETRY_SDK_VERSION: own_version,
    }


def _keep_none(span: LeanSpan, /) -> None:
    del span
