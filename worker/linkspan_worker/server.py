"""The worker's process: the way to the session servers, and HTTP before the application."""

import asyncio
import logging
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from linkspan_process.audit import audited
from linkspan_process.descriptors import room_for
from linkspan_process.hosts import is_loopback
from linkspan_process.lifecycle import END_SECONDS, run_service
from linkspan_process.log_export import exported_logs
from linkspan_process.logs import set_up_logs
from linkspan_process.metrics import Meters, metering, metrics_address, observe
from linkspan_process.overload import QueueGate
from linkspan_process.ports import address_of, take_port
from linkspan_process.ready import ready_line
from linkspan_process.telemetry import telemetry
from linkspan_process.tls.watching import tls_files, watching
from linkspan_propagation import remove_contrib_patches
from linkspan_worker.app import MCP_PATH, MCP_PATHS, WorkerApp
from linkspan_worker.auditing import WorkerAudit
from linkspan_worker.auth_config import check_exposure
from linkspan_worker.caller_trust import CallerTrust
from linkspan_worker.callers import CallerLimits, PlacesGivenBack
from linkspan_worker.config import WorkerConfig
from linkspan_worker.endpoint import McpEndpoint
from linkspan_worker.exposure import answered_hosts, check_proxied
from linkspan_worker.http import HttpBounds, HttpServer, HttpTimes
from linkspan_worker.http.connection import Serve
from linkspan_worker.http.places import Places
from linkspan_worker.limit_config import check_limits
from linkspan_worker.measuring import MeasuredApp, measure_http
from linkspan_worker.metrics_table import CERTIFICATE_LEFT
from linkspan_worker.proxies import TrustedProxies
from linkspan_worker.reaching import check_server_names, watching_servers
from linkspan_worker.session_client import SessionClient
from linkspan_worker.shedding import Shedding
from linkspan_worker.subject import log_fields

_SERVICE: Final = "linkspan-worker"

_GIVE_UP_SECONDS: Final = 2.0
"""How long it may take to tell clients that their calls are given up."""

logger = logging.getLogger(__name__)


def run(
    config: WorkerConfig,
    environ: Mapping[str, str],
    *,
    with_parent: bool,
    share_port: bool = False,
) -> int:
    """Run a worker until SIGINT or SIGTERM.

    Args:
        config: Its settings.
        environ: The environment, for the standard `OTEL_*` variables.
        with_parent: Whether to stop when standard input ends, too.
        share_port: Whether other workers may serve on the same port.

    Returns:
        The exit status of the process.
    """
    set_up_logs(config.log_level, config.log_format, log_fields)
    return run_service(
        "worker",
        partial(_serve, config, environ, share_port),
        end_within_seconds=config.drain_timeout + END_SECONDS,
        with_parent=with_parent,
    )


async def _serve(
    config: WorkerConfig,
    environ: Mapping[str, str],
    share_port: bool,
    stop: asyncio.Event,
) -> None:
    # What opentelemetry-instrument has put there would trace calls a second time, or tunnels as calls.
    remove_contrib_patches()
    check_exposure(config, config.host)
    check_proxied(config)
    check_limits(config)
    tls = tls_files(config)
    check_server_names(config.session, config)
    listener = take_port(config.host, config.port, shared=share_port)
    async with (
        metering(_SERVICE, environ, port=config.metrics_port) as meters,
        exported_logs(_SERVICE, environ, log_fields),
        telemetry(
            _SERVICE,
            environ,
            lean=config.tracing == "lean",
            trusts_remote=config.caller_trace == "follow",
        ),
        audited(_SERVICE, environ, path=config.audit_file, otlp=config.audit_otlp) as trail,
        AsyncExitStack() as stack,
    ):
        door = None
        if config.wants_auth:
            from linkspan_worker.auth_door import open_door  # noqa: PLC0415 - not loaded for nothing

            door = await stack.enter_async_context(open_door(config, _address(config, listener)))
        queue = QueueGate(config.shed_above)
        sessions = SessionClient(
            config.session,
            retry_for_seconds=config.retry_for,
            contrib=config.grpc_instrumentation == "contrib",
            meter_provider=None if meters is None else meters.provider,
            whereabouts=config.session_networks,
            tls=tls,
            queue=queue,
        )
        callers = None
        if config.limits_callers:
            callers = CallerLimits(
                rate=config.caller_rate, max_in_flight=config.max_in_flight_per_caller
            )
        proxies = TrustedProxies(config.trusted_proxies) if config.trusted_proxies else None
        endpoint = McpEndpoint(
            sessions,
            request_timeout_seconds=config.request_timeout,
            listen_timeout_seconds=config.listen_timeout,
            comment_every_seconds=config.comment_every,
            stall_seconds=config.stall_timeout,
            routing_header=config.routing_header.lower(),
            loopback_only=is_loopback(config.host),
            allowed_origins=config.allowed_origins,
            allowed_hosts=answered_hosts(config),
            proxies=proxies,
            trust=CallerTrust(
                links=config.caller_trace == "link", captured=sorted(config.capture_headers)
            ),
            door=door,
            audit=None if trail is None else WorkerAudit(trail),
            callers=callers,
        )
        app = WorkerApp(endpoint, sessions, {} if door is None else door.documents)
        if tls is not None and meters is not None:
            observe(meters.meter("linkspan.worker"), CERTIFICATE_LEFT, tls.seconds_left)
        await stack.enter_async_context(watching(tls, sessions.renew))
        await stack.enter_async_context(watching_servers(sessions, config.session, config))
        try:
            shed = Shedding(
                max_in_flight=config.max_in_flight,
                shed_above_seconds=config.shed_above,
                paths=MCP_PATHS,
                queue=queue,
                fields_of=app.fields_of,
            )
            serve: Serve = app if callers is None else PlacesGivenBack(app, callers)
            places = _places(config.max_connections_per_address, proxies)
            bounds = HttpBounds(room_for(config.max_connections), shed, places)
            await _serve_http(config, app, serve, bounds, meters, listener, stop)
        finally:
            await sessions.close()


def _places(most: int | None, proxies: TrustedProxies | None) -> Places | None:
    if most is None:
        return None
    return Places(most) if proxies is None else Places(most, proxies.trusts)


async def _serve_http(
    config: WorkerConfig,
    app: WorkerApp,
    serve: Serve,
    bounds: HttpBounds,
    meters: Meters | None,
    listener: socket.socket,
    stop: asyncio.Event,
) -> None:
    server = HttpServer(
        serve if meters is None else MeasuredApp(serve, meters),
        HttpTimes(message_seconds=config.stall_timeout),
        bounds,
        fields_of=app.fields_of,
    )
    if meters is not None:
        measure_http(server, meters)
    await server.start(listener)
    address = _address(config, listener)
    logger.info("serving %s for the session servers at %s", address, config.session)
    if not config.wants_auth and (config.trusted_proxies or not is_loopback(config.host)):
        logger.warning("nobody is asked who they are: whoever reaches this address can do anything")
    print(ready_line({"mcp": address, **metrics_address(meters)}), flush=True)
    try:
        await stop.wait()
        logger.info("shutting down")
        app.drain()
        await server.drain(config.drain_timeout)
        app.give_up()
        await server.drain(_GIVE_UP_SECONDS)
    finally:
        await server.close()


def _address(config: WorkerConfig, listener: socket.socket) -> str:
    return f"http://{address_of(config.host, listener.getsockname()[1])}{MCP_PATH}"
