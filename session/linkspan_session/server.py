"""The session server's process: takes its port, then gets ready behind it.

The port is taken first: to import the MCP SDK and the user's server is most of what a start takes,
and whoever connects meanwhile is served as soon as that is done, not when it has tried again.

Above lies the command line; below lie `listener` (the port) and `serving` (all that is behind it).
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Final

from linkspan_process.audit import audited
from linkspan_process.collection import put_off_collection
from linkspan_process.lifecycle import END_SECONDS, run_service
from linkspan_process.log_export import exported_logs
from linkspan_process.logs import set_up_logs
from linkspan_process.metrics import metering
from linkspan_process.telemetry import telemetry
from linkspan_process.tls.watching import tls_files, watching
from linkspan_propagation import remove_contrib_patches
from linkspan_session.config import SessionConfig
from linkspan_session.exposure import check_exposure
from linkspan_session.listener import listen
from linkspan_session.subject import log_fields

_SERVICE: Final = "linkspan-session"


def run(config: SessionConfig, environ: Mapping[str, str], *, with_parent: bool) -> int:
    """Run a session server until SIGINT or SIGTERM.

    Args:
        config: Its settings.
        environ: The environment, for the standard `OTEL_*` variables.
        with_parent: Whether to stop when standard input ends, too.

    Returns:
        The exit status of the process.
    """
    set_up_logs(config.log_level, config.log_format, log_fields)
    # gRPC tells of each caller that left while it was written to, with a stack trace.
    logging.getLogger("grpc._cython.cygrpc").addFilter(
        lambda record: not record.getMessage().startswith("ExecuteBatchError")
    )
    return run_service(
        "session",
        partial(_serve, config, environ),
        end_within_seconds=config.drain_timeout + END_SECONDS,
        with_parent=with_parent,
    )


async def _serve(config: SessionConfig, environ: Mapping[str, str], stop: asyncio.Event) -> None:
    # What opentelemetry-instrument has put there would trace calls a second time, or tunnels as calls.
    remove_contrib_patches()
    check_exposure(config, config.host)
    tls = tls_files(config)
    async with metering(_SERVICE, environ, port=config.metrics_port) as meters:
        listener = listen(
            config.host,
            config.port,
            advertise=config.advertise,
            exposure=config,
            tls=tls,
            captured=config.capture_metadata,
            contrib=config.grpc_instrumentation == "contrib",
            meter_provider=None if meters is None else meters.provider,
        )
        async with (
            exported_logs(_SERVICE, environ, log_fields),
            telemetry(_SERVICE, environ, lean=config.tracing == "lean"),
            audited(_SERVICE, environ, path=config.audit_file, otlp=config.audit_otlp) as trail,
            watching(tls),
        ):
            with put_off_collection():
                from linkspan_session import serving  # noqa: PLC0415 - the port comes first

                app = serving.load_hosted(config)
            await serving.serve(config, app, listener, stop, meters, trail, tls)
