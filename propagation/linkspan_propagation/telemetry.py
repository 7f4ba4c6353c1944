"""OpenTelemetry for one process: one provider, set up once, shut down in bounded time.

Owns the tracer provider that it installs, its exporters and their end. Below lies ``settings``
(what the environment says); above lies a process's ``main``. The rest of this library needs only
the OpenTelemetry API and works, and propagates, without this module.

Invariants: a process has one provider (one that is there already is used, not doubled); without
anywhere to send spans none is made; exporters are imported only where they are used.
"""

import atexit
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc
from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from linkspan_propagation import conventions
from linkspan_propagation.errors import TelemetryConfigurationError
from linkspan_propagation.propagators import Propagators, use_propagators
from linkspan_propagation.settings import ExporterName, TelemetrySettings, read_propagators

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter

MakeProvider: TypeAlias = "Callable[[TelemetrySettings, Resource], trace.TracerProvider]"
"""Makes a tracer provider from what the environment says, and from what its spans come."""

_LOGGER: Final = logging.getLogger(__name__)
_EXIT_TIMEOUT_SECONDS: Final = 5.0


class Telemetry:
    """What ``set_up_telemetry`` set up, to be shut down before the process ends.

    Attributes:
        tracer_provider: the provider of this process: the one installed here, the one that was
            there already, or OpenTelemetry's own that records nothing.
        installed: whether the provider was installed here.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider,
        *,
        installed: bool = False,
        exporters: Sequence["SpanExporter"] = (),
    ) -> None:
        self.tracer_provider = tracer_provider
        self.installed = installed
        self._exporters = exporters
        self._lock = threading.Lock()
        self._result: bool | None = None

    def shut_down(self, timeout_seconds: float) -> bool:
        """Send what is left, and stop. Blocks, so call it off the event loop.

        Args:
            timeout_seconds: the longest that this may take.

        Returns:
            True where everything was handed to the exporters and they closed in time. A collector
            that refuses spans or is gone does not make it false, one that is slow does. A second
            call does nothing and returns what the first one did. A provider that was there already
            is flushed and left to whoever installed it.

        Never raises.
        """
        with self._lock:
            if self._result is None:
                self._result = self._stop(timeout_seconds)
                atexit.unregister(self.stop_at_exit)
            return self._result

    def _stop(self, timeout_seconds: float) -> bool:
        done = threading.Event()

        def stop() -> None:
            try:
                provider: Any = self.tracer_provider
                if self.installed:
                    provider.shutdown()
                elif hasattr(provider, "force_flush"):
                    provider.force_flush(int(timeout_seconds * 1000))
                done.set()
            except Exception:  # a broken exporter costs spans
                _LOGGER.warning("telemetry did not shut down cleanly", exc_info=True)

        # The SDK offers no bound on a flush; a daemon thread is one.
        thread = threading.Thread(target=stop, name="telemetry-shutdown", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending, and from Python 3.12 on starts no thread
            stop()
            return done.is_set()
        thread.join(timeout_seconds)
        if thread.is_alive():
            _LOGGER.warning("telemetry did not shut down in %s s; spans are lost", timeout_seconds)
            for exporter in self._exporters:
                _close(exporter)
        return done.is_set()

    def stop_at_exit(self) -> None:
        """Do what ``shut_down`` does, as the process exits."""
        self.shut_down(_EXIT_TIMEOUT_SECONDS)


def set_up_telemetry(
    service_name: str,
    *,
    service_version: str,
    environ: Mapping[str, str],
    make_provider: "MakeProvider | None" = None,
) -> Telemetry:
    """Set up tracing for this process as the standard ``OTEL_*`` variables say.

    Call it once, at the start, before forking and before the first span.

    Args:
        service_name: ``service.name`` where neither ``OTEL_SERVICE_NAME`` nor
            ``OTEL_RESOURCE_ATTRIBUTES`` has one.
        service_version: ``service.version``, on the same terms.
        environ: usually ``os.environ``. What this function decides, it decides by this mapping:
            exporters, endpoint, protocol, compression, propagators, resource, disabling. The rest
            the SDK and its exporters read from ``os.environ`` by themselves: sampler, batch sizes,
            limits, and the headers, certificates and timeouts of ``OTEL_EXPORTER_OTLP_*``.
        make_provider: makes the provider, exporters and all, from what the environment says; None
            for the SDK's.

    Returns:
        A handle to shut down. Nothing is installed where ``OTEL_SDK_DISABLED`` is true, where no
        exporter is asked for and no endpoint is set, or where a global provider is installed
        already (as under ``opentelemetry-instrument``), which is then used. Context is propagated
        in each case.

    Raises:
        TelemetryConfigurationError: a variable has a value that cannot be honoured. Where a
            provider is installed already, only ``OTEL_PROPAGATORS`` is read.

    Spans of a process that never calls ``shut_down`` are sent at its exit, with a bound of 5 seconds
    up to Python 3.11, and of the SDK and its exporters from 3.12 on.
    """
    present = trace.get_tracer_provider()
    if not isinstance(present, trace.ProxyTracerProvider):
        use_propagators(read_propagators(environ))
        return Telemetry(present)
    settings = TelemetrySettings.from_env(environ)
    _use(settings.propagators)
    if settings.disabled or not settings.exporters:
        return Telemetry(present)

    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - the SDK only where it is used

    resource = Resource.create(
        {
            conventions.SERVICE_NAME: service_name,
            conventions.SERVICE_VERSION: service_version,
            **settings.resource,
        }
    )
    exporters: list[SpanExporter] = []
    if make_provider is None:
        provider, exporters = _sdk_provider(settings, resource)
    else:
        provider = make_provider(settings, resource)
    trace.set_tracer_provider(provider)
    telemetry = Telemetry(provider, installed=True, exporters=exporters)
    atexit.register(telemetry.stop_at_exit)
    return telemetry


def _sdk_provider(
    settings: TelemetrySettings, resource: "Resource"
) -> "tuple[trace.TracerProvider, list[SpanExporter]]":
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above

    try:
        exporters = [_exporter(name, settings) for name in settings.exporters]
    except Exception as error:
        # Whatever an exporter reads from the environment by itself and does not like.
        raise TelemetryConfigurationError(
            "OTEL_EXPORTER_OTLP_*", " ".join(str(error).split()), "what the exporter takes"
        ) from error
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name, exporter in zip(settings.exporters, exporters, strict=True):
        provider.add_span_processor(_processor(name, exporter))
    return provider, exporters


def _use(propagators: Propagators) -> None:
    """Carry these over gRPC, and let other instrumented libraries carry the same."""
    use_propagators(propagators)
    chosen: list[TextMapPropagator] = []
    if propagators.trace_context:
        chosen.append(TraceContextTextMapPropagator())
    if propagators.baggage:
        chosen.append(W3CBaggagePropagator())
    # Not above: this module reads OTEL_PROPAGATORS when it is imported, and raises for what it does
    # not know, long before anybody could say more clearly what is wrong.
    from opentelemetry import propagate  # noqa: PLC0415

    propagate.set_global_textmap(CompositePropagator(chosen))


def _exporter(name: ExporterName, settings: TelemetrySettings) -> "SpanExporter":
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415

        return ConsoleSpanExporter()
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as over_grpc  # noqa: PLC0415

        # Handed over, for this exporter takes no "none" from the environment.
        gzips = settings.compression == "gzip"
        return over_grpc.OTLPSpanExporter(
            endpoint=settings.endpoint,
            compression=grpc.Compression.Gzip if gzips else grpc.Compression.NoCompression,
        )
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as over_http  # noqa: PLC0415

    return over_http.OTLPSpanExporter(
        endpoint=settings.endpoint, compression=Compression(settings.compression)
    )


def _processor(name: ExporterName, exporter: "SpanExporter") -> Any:
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
        BatchSpanProcessor,
        SimpleSpanProcessor,
    )

    # Who looks at a console looks for the span that has just ended.
    return SimpleSpanProcessor(exporter) if name == "console" else BatchSpanProcessor(exporter)


def _close(exporter: "SpanExporter") -> None:
    try:
        exporter.shutdown()
    except Exception:
        _LOGGER.debug("exporter did not close", exc_info=True)
