"""The worker's process: a channel to the session server, and uvicorn before the application."""

import asyncio
import logging
import math
import os
import socket
import struct
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from linkspan_process.lifecycle import END_SECONDS, run_service
from linkspan_process.logs import set_up_logs
from linkspan_process.ports import address_of, take_port
from linkspan_process.ready import ready_line
from linkspan_process.telemetry import telemetry
from linkspan_worker.app import MCP_PATH, WorkerApp
from linkspan_worker.config import WorkerConfig
from linkspan_worker.endpoint import ABORT_EXTENSION, McpEndpoint
from linkspan_worker.origin import is_loopback
from linkspan_worker.session_client import SessionClient

_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""`struct linger`: on, for no time at all."""

_GIVE_UP_SECONDS: Final = 2.0
"""How long it may take to tell clients that their calls are given up."""

logger = logging.getLogger(__name__)


def run(config: WorkerConfig, environ: Mapping[str, str], *, with_parent: bool) -> int:
    """Run a worker until SIGINT or SIGTERM.

    Args:
        config: Its settings.
        environ: The environment, for the standard `OTEL_*` variables.
        with_parent: Whether to stop when standard input ends, too.

    Returns:
        The exit status of the process.
    """
    set_up_logs(config.log_level)
    return run_service(
        "worker",
        partial(_serve, config, environ),
        end_within_seconds=config.drain_timeout + END_SECONDS,
        with_parent=with_parent,
    )


class _Protocol(HttpToolsProtocol):
    """uvicorn's, and each request can break its connection, for a client that reads nothing."""

    def on_message_begin(self) -> None:
        """Add the extension to the scope of the request that begins."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT_EXTENSION: {"abort": self._abort}}

    def _abort(self) -> None:
        """Reset the connection, so that the kernel sends nothing more of what it holds, either."""
        handle = self.transport.get_extra_info("socket")
        if handle is not None:
            with socket.socket(fileno=os.dup(handle.fileno())) as twin:
                twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()


class _Server(uvicorn.Server):
    """uvicorn, but the process's own signal handlers stay."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def _serve(config: WorkerConfig, environ: Mapping[str, str], stop: asyncio.Event) -> None:
    listener = take_port(config.host, config.port)
    async with telemetry("linkspan-worker", environ):
        sessions = SessionClient(config.session, retry_for_seconds=config.retry_for)
        endpoint = McpEndpoint(
            sessions,
            request_timeout_seconds=config.request_timeout,
            listen_timeout_seconds=config.listen_timeout,
            comment_every_seconds=config.comment_every,
            stall_seconds=config.stall_timeout,
            routing_header=config.routing_header.lower(),
            loopback_only=is_loopback(config.host),
            allowed_origins=config.allowed_origins,
        )
        app = WorkerApp(endpoint, sessions)
        try:
            await _serve_http(config, app, listener, stop)
        finally:
            await sessions.close()


async def _serve_http(
    config: WorkerConfig, app: WorkerApp, listener: socket.socket, stop: asyncio.Event
) -> None:
    server = _Server(
        uvicorn.Config(
            cast("Any", app),
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            # Calls are given up before that, by the application, with an answer that says so.
            timeout_graceful_shutdown=math.ceil(config.drain_timeout + _GIVE_UP_SECONDS),
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    address = f"http://{address_of(config.host, listener.getsockname()[1])}{MCP_PATH}"
    logger.info("serving %s for the session servers at %s", address, config.session)
    print(ready_line({"mcp": address}), flush=True)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    logger.info("shutting down")
    app.drain()
    server.should_exit = True
    await asyncio.wait({serving}, timeout=config.drain_timeout)
    app.give_up()
    await serving
