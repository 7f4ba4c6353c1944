"""The session server's process: store, hosted server, gRPC server; closed in reverse order.

Serves `SessionService`, `grpc.health.v1.Health` and reflection on one port.
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from linkspan.session.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server
from linkspan_contract.limits import MAX_GRPC_MESSAGE_BYTES
from linkspan_process.errors import StartError
from linkspan_process.lifecycle import END_SECONDS, run_service
from linkspan_process.logs import set_up_logs
from linkspan_process.ports import address_of, check_port
from linkspan_process.ready import ready_line
from linkspan_process.telemetry import telemetry
from linkspan_propagation import server_interceptor
from linkspan_session.config import SessionConfig
from linkspan_session.host import SessionHost
from linkspan_session.kernel import HostedServer, hosting, share_request_state_key
from linkspan_session.live import StreamSettings
from linkspan_session.loading import load_app
from linkspan_session.servicer import SERVICE_NAME, SPAN_NAMES, SessionServicer
from linkspan_session.store import SqliteDatabase, SqliteEventLog, SqliteSessionStore
from linkspan_session.store.sqlite_tasks import SqliteTaskStore
from linkspan_session.tasks.ledger import TaskLedger
from linkspan_session.tasks.listening import guard_listening
from linkspan_session.tasks.runner import TaskRunner

logger = logging.getLogger(__name__)

_DATABASE: Final = "sessions.db"
_MIN_KEY_BYTES: Final = 32

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_BYTES),
    # Without this a second server on the same port would start and take half of the calls.
    ("grpc.so_reuseport", 0),
)


def run(config: SessionConfig, environ: Mapping[str, str], *, with_parent: bool) -> int:
    """Run a session server until SIGINT or SIGTERM.

    Args:
        config: Its settings.
        environ: The environment, for the standard `OTEL_*` variables.
        with_parent: Whether to stop when standard input ends, too.

    Returns:
        The exit status of the process.
    """
    set_up_logs(config.log_level)
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
    async with telemetry("linkspan-session", environ):
        server = load_app(config.app)
        guard_listening(server)
        if config.request_state_key:
            share_request_state_key(server, _read_key(config.request_state_key))
        grpc_server, address = _listen(config)
        database = await SqliteDatabase.open(config.data / _DATABASE)
        try:
            async with hosting(server) as hosted, asyncio.TaskGroup() as tasks:
                runner = TaskRunner(TaskLedger(SqliteTaskStore(database)), tasks)
                host = SessionHost(
                    hosted,
                    SqliteSessionStore(database),
                    SqliteEventLog(database, max_log_bytes=config.max_event_log),
                    tasks,
                    request_timeout_seconds=config.request_timeout,
                    streams=StreamSettings(
                        open_after_seconds=config.open_stream_after,
                        retry_millis=round(config.retry_after * 1000),
                        max_buffered_bytes=config.max_backlog,
                        stall_seconds=config.stall_timeout,
                    ),
                    task_runner=runner,
                )
                try:
                    await _serve_grpc(grpc_server, address, config, host, hosted, stop)
                finally:
                    await runner.drain()
        finally:
            await database.close()


def _listen(config: SessionConfig) -> tuple[grpc.aio.Server, str]:
    """Take the port; returns the server and the address to reach it at."""
    server = grpc.aio.server(
        interceptors=[server_interceptor(span_names=SPAN_NAMES, record=_is_ours)],
        options=_CHANNEL_OPTIONS,
    )
    check_port(config.host, config.port)  # gRPC itself would not say why it cannot have it
    try:
        port = server.add_insecure_port(address_of(config.host, config.port))
    except RuntimeError as error:
        raise StartError(f"cannot serve on port {config.port}: {error}") from None
    return server, address_of(config.host, port)


async def _serve_grpc(
    server: grpc.aio.Server,
    address: str,
    config: SessionConfig,
    host: SessionHost,
    hosted: HostedServer,
    stop: asyncio.Event,
) -> None:
    add_SessionServiceServicer_to_server(SessionServicer(host), server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection(
        (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    await server.start()
    for name in ("", SERVICE_NAME):
        await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    logger.info("hosting %r on %s", hosted.name, address)
    print(ready_line({"grpc": address}), flush=True)
    try:
        await stop.wait()
    finally:
        logger.info("shutting down")
        await health_servicer.enter_graceful_shutdown()
        await host.drain(config.drain_timeout)
        await server.stop(grace=1.0)


def _read_key(path: str) -> bytes:
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise StartError(f"--request-state-key {path}: {error.strerror}") from None
    if len(key) < _MIN_KEY_BYTES:
        raise StartError(f"--request-state-key {path}: holds less than {_MIN_KEY_BYTES} bytes")
    return key


def _is_ours(full_method: str) -> bool:
    return full_method.startswith(f"/{SERVICE_NAME}/")
