"""Telemetry of a process: set up in one place, and flushed when the process ends."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

from linkspan_process.errors import StartError
from linkspan_propagation import TelemetryConfigurationError, set_up_telemetry

_SHUTDOWN_SECONDS: Final = 5.0
"""How long the end of a process waits for its last spans to be taken."""


@asynccontextmanager
async def telemetry(service_name: str, environ: Mapping[str, str]) -> AsyncGenerator[None]:
    """Have spans exported as the standard `OTEL_*` variables say, until the block is left.

    Args:
        service_name: `service.name`, unless `OTEL_SERVICE_NAME` names another.
        environ: The environment.

    Raises:
        StartError: A variable has a value that OpenTelemetry does not define.
    """
    try:
        running = set_up_telemetry(
            service_name, service_version=version("linkspan"), environ=environ
        )
    except TelemetryConfigurationError as error:
        raise StartError(str(error)) from error
    try:
        yield
    finally:
        await asyncio.to_thread(running.shut_down, _SHUTDOWN_SECONDS)
