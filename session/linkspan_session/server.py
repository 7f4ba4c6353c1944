"""The session server's process: store, hosted server, lease, gRPC server; closed in reverse order."""

import asyncio
import logging
import socket
import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import grpc

from linkspan_process.errors import StartError
from linkspan_process.lifecycle import END_SECONDS, run_service
from linkspan_process.logs import set_up_logs
from linkspan_process.ports import address_of, check_port
from linkspan_process.ready import ready_line
from linkspan_process.telemetry import telemetry
from linkspan_session.config import SessionConfig
from linkspan_session.directory import SessionLimits
from linkspan_session.errors import StoreUnavailableError
from linkspan_session.grpc_front import GrpcFront, new_grpc_server
from linkspan_session.host import SessionHost
from linkspan_session.housekeeping import Housekeeping
from linkspan_session.kernel import HostedServer, hosting, share_request_state_key
from linkspan_session.lease import Lease
from linkspan_session.live import StreamSettings
from linkspan_session.loading import load_app
from linkspan_session.store import NodeId, Store, open_store
from linkspan_session.tasks.ledger import TaskLedger
from linkspan_session.tasks.listening import guard_listening
from linkspan_session.tasks.runner import TaskRunner

logger = logging.getLogger(__name__)

_DATABASE: Final = "sessions.db"
_MIN_KEY_BYTES: Final = 32
_ELSEWHERE: Final = ("192.0.2.1", 9)
"""An address that is not of this machine (RFC 5737)."""


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
        node = NodeId(f"{config.advertise or _reachable(address)}#{uuid.uuid4().hex[:12]}")
        store = await open_store(
            config.store or f"sqlite:///{config.data / _DATABASE}",
            max_log_bytes=config.max_event_log,
        )
        try:
            async with hosting(server) as hosted, asyncio.TaskGroup() as tasks:
                await _serve_sessions(
                    grpc_server, address, node, config, store, hosted, tasks, stop
                )
        finally:
            await store.close()


async def _serve_sessions(
    grpc_server: grpc.aio.Server,
    address: str,
    node: NodeId,
    config: SessionConfig,
    store: Store,
    hosted: HostedServer,
    tasks: asyncio.TaskGroup,
    stop: asyncio.Event,
) -> None:
    runner = TaskRunner(TaskLedger(store.tasks, store.nodes, node), tasks)
    lease = Lease(store.nodes, node, seconds=config.lease, live_sessions=lambda: len(host.sessions))
    host = SessionHost(
        hosted,
        store.sessions,
        lease,
        tasks,
        request_timeout_seconds=config.request_timeout,
        max_requests=config.max_requests,
        streams=StreamSettings(
            open_after_seconds=config.open_stream_after,
            retry_millis=round(config.retry_after * 1000),
            max_buffered_bytes=config.max_backlog,
            stall_seconds=config.stall_timeout,
        ),
        limits=SessionLimits(
            ttl_millis=round(config.session_ttl * 1000),
            max_of_principal=config.max_sessions,
            max_live=config.max_live,
            max_storage_bytes=config.max_storage,
        ),
        task_runner=runner,
    )
    housekeeping = Housekeeping(
        host.sessions,
        store.sessions,
        lease,
        sleep_after_seconds=config.sleep_after,
        ttl_seconds=config.session_ttl,
    )
    chores = [tasks.create_task(lease.keep()), tasks.create_task(housekeeping.run())]
    front = GrpcFront(grpc_server, host, tasks)
    lease.on_store = front.say_serving
    try:
        with suppress(StoreUnavailableError):  # it serves as soon as the store can be had
            await lease.ensure()
        await front.start()
        logger.info("hosting %r on %s as %s", hosted.name, address, node)
        print(ready_line({"grpc": address}), flush=True)
        await stop.wait()
    finally:
        logger.info("shutting down")
        await front.stop(config.drain_timeout)
        for chore in chores:
            chore.cancel()
        await runner.drain()
        await lease.leave()


def _listen(config: SessionConfig) -> tuple[grpc.aio.Server, str]:
    """Take the port; returns the server and the address to reach it at."""
    server = new_grpc_server()
    check_port(config.host, config.port)  # gRPC itself would not say why it cannot have it
    try:
        port = server.add_insecure_port(address_of(config.host, config.port))
    except RuntimeError as error:
        raise StartError(f"cannot serve on port {config.port}: {error}") from None
    return server, address_of(config.host, port)


def _reachable(address: str) -> str:
    """Return the address at which others reach what is served on all addresses of this machine."""
    host, _, port = address.rpartition(":")
    if host.strip("[]") not in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return address
    own = _own_address()
    if own is None:
        raise StartError(
            "this machine has no address of its own that others could reach; name one with --advertise"
        )
    return address_of(own, int(port))


def _own_address() -> str | None:
    """Return the address that this machine talks to others from; None if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)  # of a datagram socket: chooses a route and sends nothing
        except OSError:
            return None
        own: str = probe.getsockname()[0]
    return None if own.startswith("127.") else own


def _read_key(path: str) -> bytes:
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise StartError(f"--request-state-key {path}: {error.strerror}") from None
    if len(key) < _MIN_KEY_BYTES:
        raise StartError(f"--request-state-key {path}: holds less than {_MIN_KEY_BYTES} bytes")
    return key
