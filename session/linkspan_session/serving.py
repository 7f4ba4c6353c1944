"""All that is behind a session server's port: hosted server, store, lease, host.

Above lies `server`, which imports this room once the port is taken; below lie all the others. What is
opened here is closed in reverse order.
"""

import asyncio
import logging
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from linkspan_process.audit import Trail
from linkspan_process.errors import StartError
from linkspan_process.hosts import is_local
from linkspan_process.metrics import Meters, metrics_address
from linkspan_process.overload import LoadGate
from linkspan_process.ready import ready_line
from linkspan_process.tls.watching import TlsFiles
from linkspan_process.unix_sockets import is_unix
from linkspan_session.auditing import audit
from linkspan_session.config import SessionConfig
from linkspan_session.errors import StoreUnavailableError
from linkspan_session.grpc_front import GrpcFront
from linkspan_session.host import SessionHost
from linkspan_session.housekeeping import Housekeeping
from linkspan_session.kernel import (
    App,
    HostedServer,
    bind_request_state,
    hosting,
    share_request_state_key,
)
from linkspan_session.lease import Lease
from linkspan_session.listener import Listener
from linkspan_session.live import StreamSettings
from linkspan_session.loading import load_app
from linkspan_session.measuring import Measures
from linkspan_session.probing import probe
from linkspan_session.session_limits import UNLIMITED_MILLIS, SessionLimits
from linkspan_session.store import NodeId, Store, open_store
from linkspan_session.tasks.ledger import TaskLedger
from linkspan_session.tasks.listening import guard_listening
from linkspan_session.tasks.runner import TaskRunner

logger = logging.getLogger(__name__)

_DATABASE: Final = "sessions.db"
_MIN_KEY_BYTES: Final = 32


def load_hosted(config: SessionConfig) -> App:
    """Import the user's server, and set it up to be hosted.

    Raises:
        StartError: It cannot be had, or a setting for it is wrong.
    """
    app = load_app(config.app)
    guard_listening(app)
    if config.request_state_key:
        share_request_state_key(app, _read_key(config.request_state_key))
    bind_request_state(app)
    return app


async def serve(
    config: SessionConfig,
    app: App,
    listener: Listener,
    stop: asyncio.Event,
    meters: Meters | None,
    trail: Trail | None = None,
    tls: TlsFiles | None = None,
) -> None:
    """Serve until the event is set, then drain.

    Args:
        config: The settings.
        app: The user's server, from `load_hosted`.
        listener: The ports.
        stop: Set when it is time to end.
        meters: Where metrics are recorded; None for nowhere.
        trail: Where the audit trail goes; None for nowhere.
        tls: Who this process is to other session servers; None for no TLS.

    Raises:
        StartError: It cannot start.
    """
    if config.audit_content and trail is None:
        raise StartError("--audit-content shows nothing without --audit-file or --audit-otlp")
    audit.begin(trail, content=config.audit_content)
    node = NodeId(f"{listener.name}#{uuid.uuid4().hex[:12]}{listener.admin_mark}")
    store = await open_store(
        config.store or f"sqlite:///{config.data / _DATABASE}",
        max_log_bytes=config.max_event_log,
    )
    measures = None if meters is None else Measures(meters)
    if measures is not None:
        store = measures.store(store)
        measures.certificate(tls)
    make = HostedServer if measures is None else measures.server
    try:
        async with hosting(app, make) as hosted, asyncio.TaskGroup() as tasks:
            await _serve_sessions(listener, node, config, store, hosted, tasks, stop, measures, tls)
    finally:
        await store.close()


async def _serve_sessions(
    listener: Listener,
    node: NodeId,
    config: SessionConfig,
    store: Store,
    hosted: HostedServer,
    tasks: asyncio.TaskGroup,
    stop: asyncio.Event,
    measures: Measures | None,
    tls: TlsFiles | None,
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
            lifetime_millis=UNLIMITED_MILLIS
            if config.session_lifetime is None
            else round(config.session_lifetime * 1000),
            request_millis=round(config.request_timeout * 1000),
            max_of_principal=config.max_sessions,
            max_live=config.max_live,
            max_storage_bytes=config.max_storage,
        ),
        task_runner=runner,
        probe=partial(probe, tls=tls),
    )
    if measures is not None:
        measures.sessions(host.sessions)
    housekeeping = Housekeeping(
        host.sessions,
        store.sessions,
        lease,
        sleep_after_seconds=config.sleep_after,
        ttl_seconds=config.session_ttl,
    )
    chores = [tasks.create_task(lease.keep()), tasks.create_task(housekeeping.run())]
    front = GrpcFront(listener, host, tasks, LoadGate(config.shed_above))
    lease.on_store = front.say_serving
    try:
        with suppress(StoreUnavailableError):  # it serves as soon as the store can be had
            await lease.ensure()
        await front.start()
        logger.info("hosting %r on %s as %s", hosted.name, listener.main.address, node)
        if not (config.wants_tls or is_local(config.host)):
            logger.warning("nobody is asked who they are: let only workers reach this address")
        if is_unix(listener.name) and config.store.startswith(("redis", "valkey")):
            logger.warning(
                "only this machine reaches %s: no server elsewhere may use this store",
                listener.name,
            )
        addresses = {"grpc": listener.main.address}
        if listener.admin is not None:
            addresses["admin"] = listener.admin.address
        metrics_at = {} if measures is None else metrics_address(measures.meters)
        print(ready_line({**addresses, **metrics_at}), flush=True)
        await stop.wait()
    finally:
        logger.info("shutting down")
        await front.stop(config.drain_timeout)
        for chore in chores:
            chore.cancel()
        await runner.drain()
        await lease.leave()


def _read_key(path: str) -> bytes:
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise StartError(f"--request-state-key {path}: {error.strerror}") from None
    if len(key) < _MIN_KEY_BYTES:
        raise StartError(f"--request-state-key {path}: holds less than {_MIN_KEY_BYTES} bytes")
    return key
