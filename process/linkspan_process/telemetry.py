"""Telemetry of a process: set up in one place, and flushed when the process ends."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.trace import TracerProvider

from linkspan_process.errors import StartError
from linkspan_propagation import TelemetryConfigurationError, set_up_telemetry
from linkspan_propagation.settings import TelemetrySettings
from linkspan_tracing import (
    MarkingProcessor,
    TracingConfigurationError,
    UntrustingSampler,
    provider_from_env,
)

_SHUTDOWN_SECONDS: Final = 5.0
"""How long the end of a process waits for its last spans to be taken."""

_MARKERS_EVERY_SECONDS: Final = 0.5
"""How often to look for long spans: what is open for a second has a start marker by then."""


@asynccontextmanager
async def telemetry(
    service_name: str,
    environ: Mapping[str, str],
    *,
    lean: bool = True,
    trusts_remote: bool = True,
) -> AsyncGenerator[None]:
    """Have spans exported as the standard `OTEL_*` variables say, until the block is left.

    Args:
        service_name: `service.name`, unless `OTEL_SERVICE_NAME` names another.
        environ: The environment.
        lean: Whether spans are made and sent by `linkspan_tracing`, which costs less; else by
            OpenTelemetry's SDK.
        trusts_remote: Whether who calls from another process decides by its sampling flag what is
            sampled here.

    Raises:
        StartError: A variable has a value that OpenTelemetry does not define.
    """
    try:
        running = set_up_telemetry(
            service_name,
            service_version=version("linkspan"),
            environ=environ,
            make_provider=partial(_lean_provider, environ, trusts_remote) if lean else None,
        )
    except (TelemetryConfigurationError, TracingConfigurationError) as error:
        raise StartError(str(error)) from error
    marking = None
    provider = running.tracer_provider
    if isinstance(provider, SdkTracerProvider):  # ours, or that of whoever started this process
        marking = MarkingProcessor(provider, _MARKERS_EVERY_SECONDS)
        provider.add_span_processor(marking)
        if not trusts_remote:  # no tracer has been asked for yet
            provider.sampler = UntrustingSampler(provider.sampler)
    try:
        yield
    finally:
        if marking is not None:
            marking.shutdown()  # now, for what is marked from here on could not be sent
        await asyncio.to_thread(running.shut_down, _SHUTDOWN_SECONDS)


def _lean_provider(
    environ: Mapping[str, str],
    trusts_remote: bool,
    settings: TelemetrySettings,
    resource: Resource,
) -> TracerProvider:
    provider = provider_from_env(
        environ,
        resource,
        exports="otlp" in settings.exporters,
        markers_every_seconds=_MARKERS_EVERY_SECONDS,
        trusts_remote=trusts_remote,
    )
    if "console" in settings.exporters:
        # Who looks at a console looks for the span that has just ended.
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    return provider
