"""The metrics of a process, set up in one place: nothing unless it is asked for.

Owns the meter provider, the periodic export over OTLP and the endpoint for Prometheus, and their
end. Above lie the services; below lie `signals` (what the environment says), `histograms` and
`endpoint`. OpenTelemetry's SDK is imported only where metrics are on.

Invariants: a process has one meter provider, and uses the one that is there already, as under
`opentelemetry-instrument`; whatever a receiver does, serving does not notice and the end is in time.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from opentelemetry.metrics import Meter, MeterProvider, get_meter_provider, set_meter_provider

from linkspan_process.signals import SignalSettings, prometheus_address, resource_attributes

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider

    from linkspan_process.metrics.readers import ScrapedReader, SentReader

_SHUTDOWN_SECONDS: Final = 2.0
"""How long the end of a process waits for its last metrics to be taken. With the same for spans and
logs it is less than `END_SECONDS`, after which a process is ended by force."""

_LOOPBACK: Final = "127.0.0.1"

logger = logging.getLogger(__name__)


class Meters:
    """Where a process records.

    Attributes:
        provider: For instruments of ours, whose histograms cost little.
        address: Where Prometheus finds them; None for nowhere.
    """

    def __init__(self, provider: MeterProvider, address: str | None = None) -> None:
        self.provider: Final = provider
        self.address: Final = address

    def meter(self, name: str) -> Meter:
        """Return the meter of a part of Linkspan."""
        return self.provider.get_meter(name, version("linkspan"))


def metrics_address(meters: Meters | None) -> dict[str, str]:
    """Return what the ready line says of them: `metrics` and the URL for Prometheus, or nothing."""
    return {} if meters is None or meters.address is None else {"metrics": meters.address}


@asynccontextmanager
async def metering(
    service_name: str, environ: Mapping[str, str], *, port: int | None
) -> AsyncGenerator[Meters | None]:
    """Have metrics recorded until the block is left, if anybody asks for them.

    Args:
        service_name: `service.name`, unless the environment names another.
        environ: The environment.
        port: Where Prometheus is to find them; 0 takes a free port, None leaves it to the
            environment.

    Yields:
        Where to record; None if nobody asks, and then nothing is to be recorded.

    Raises:
        StartError: A variable has a value that OpenTelemetry does not define, or the port cannot
            be had.
    """
    settings = SignalSettings.from_env("METRICS", environ)
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if disabled or not (settings.otlp or settings.prometheus or port is not None):
        yield None
        return
    where = None
    if settings.prometheus or port is not None:
        where = prometheus_address(environ) if settings.prometheus else (_LOOPBACK, 0)
        where = (where[0], where[1] if port is None else port)
    running = _Running(service_name, environ, settings, where)
    try:
        yield running.meters
    finally:
        await asyncio.to_thread(running.stop, _SHUTDOWN_SECONDS)


class _Running:
    """What was set up, to be stopped."""

    def __init__(
        self,
        service_name: str,
        environ: Mapping[str, str],
        settings: SignalSettings,
        where: tuple[str, int] | None,
    ) -> None:
        # The SDK is imported where it is used: a process without metrics has no use for it.
        from linkspan_process.metrics.endpoint import MetricsEndpoint  # noqa: PLC0415
        from linkspan_process.metrics.readers import ScrapedReader  # noqa: PLC0415

        self._own: SdkMeterProvider | None = None
        self._endpoint: MetricsEndpoint | None = None
        scraped = ScrapedReader()
        readers: list[ScrapedReader | SentReader] = []
        if where is not None:
            readers.append(scraped)
            self._endpoint = MetricsEndpoint(*where, scraped.read)
        try:
            provider = self._provider(service_name, environ, settings, readers)
        except BaseException:
            self.stop(_SHUTDOWN_SECONDS)
            raise
        self.meters = Meters(provider, None if self._endpoint is None else self._endpoint.address)

    def _provider(
        self,
        service_name: str,
        environ: Mapping[str, str],
        settings: SignalSettings,
        readers: "list[ScrapedReader | SentReader]",
    ) -> MeterProvider:
        from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider  # noqa: PLC0415

        from linkspan_process.metrics.readers import otlp_reader  # noqa: PLC0415

        present = get_meter_provider()
        if isinstance(present, SdkMeterProvider):
            for reader in readers:
                present.add_metric_reader(reader)
            return present
        if settings.otlp:
            readers.append(otlp_reader(settings, environ))
        return self._install(service_name, environ, readers)

    def _install(
        self,
        service_name: str,
        environ: Mapping[str, str],
        readers: "list[ScrapedReader | SentReader]",
    ) -> MeterProvider:
        from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

        from linkspan_process.metrics.histograms import LeanMeterProvider  # noqa: PLC0415
        from linkspan_process.metrics.readers import wants_other_histograms  # noqa: PLC0415

        named = {
            "service.name": service_name,
            "service.version": version("linkspan"),
            **resource_attributes(environ),
        }
        own = SdkMeterProvider(readers, Resource.create(named), shutdown_on_exit=False)
        self._own = own
        set_meter_provider(own)
        if wants_other_histograms(environ):
            return own
        exemplars = environ.get("OTEL_METRICS_EXEMPLAR_FILTER", "").strip() != "always_off"
        lean = LeanMeterProvider(own, exemplars=exemplars)
        for reader in readers:
            reader.lean = lean
        return lean

    def stop(self, timeout_seconds: float) -> None:
        """Send what is left, and stop; blocks, never raises."""
        if self._endpoint is not None:
            self._endpoint.close()
        own = self._own
        if own is None:
            return

        def shut_down() -> None:
            try:
                own.shutdown(timeout_millis=timeout_seconds * 1000)
            except Exception:  # a broken receiver costs metrics
                logger.warning("the last metrics could not be sent", exc_info=True)

        # The SDK's bound is not one for an exporter that is in the middle of a request.
        thread = threading.Thread(target=shut_down, name="metrics-shutdown", daemon=True)
        thread.start()
        thread.join(timeout_seconds)
        if thread.is_alive():
            logger.warning("metrics did not shut down in %s s; some are lost", timeout_seconds)
