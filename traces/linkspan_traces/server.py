"""The process: a store, gRPC and HTTP before it, and a file that says where the page is.

It exports no spans of its own: it would answer each with another.
"""

import argparse
import asyncio
import logging
import math
import os
import socket
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, cast

import grpc
import uvicorn

from linkspan_process.errors import StartError
from linkspan_process.lifecycle import END_SECONDS, EXIT_NOT_STARTED, run_service
from linkspan_process.logs import set_up_logs
from linkspan_process.ports import address_of, check_port, take_port
from linkspan_process.ready import ready_line
from linkspan_process.settings import add_flags, from_env, with_flags
from linkspan_traces.config import ENV_PREFIX, TracesConfig
from linkspan_traces.intake import Intake, Limits
from linkspan_traces.live import Live
from linkspan_traces.otlp.grpc import new_server
from linkspan_traces.otlp.http import OtlpHttp
from linkspan_traces.store.database import Database
from linkspan_traces.web.api import Api
from linkspan_traces.web.app import TracesApp
from linkspan_traces.web.pages import Pages
from linkspan_traces.whereabouts import announced

DATABASE: Final = "traces.db"

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read settings from flags and the environment, and serve.

    Args:
        arguments: The words after the command's name; None takes this process's own.

    Returns:
        The exit status of the process.
    """
    parser = argparse.ArgumentParser(
        prog="linkspan-traces", description="Keeps traces and shows them.", allow_abbrev=False
    )
    add_serve_flags(parser)
    parsed = parser.parse_args(arguments)
    try:
        config = with_flags(from_env(TracesConfig, os.environ, prefix=ENV_PREFIX), parsed)
    except StartError as error:
        print(f"linkspan traces: {error}", file=sys.stderr)
        return EXIT_NOT_STARTED
    return run(config, with_parent=parsed.with_parent)


def add_serve_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting, and `--with-parent`."""
    add_flags(parser, TracesConfig, prefix=ENV_PREFIX)
    parser.add_argument(
        "--with-parent",
        action="store_true",
        help="stop when standard input ends, so as not to outlive the parent process",
    )


def run(config: TracesConfig, *, with_parent: bool) -> int:
    """Run the trace backend until SIGINT or SIGTERM.

    Its ready line is `ready traces=URL grpc=HOST:PORT`: the page, which also takes OTLP over HTTP,
    and OTLP over gRPC.

    Args:
        config: Its settings.
        with_parent: Whether to stop when standard input ends, too.

    Returns:
        The exit status of the process.
    """
    set_up_logs(config.log_level)
    return run_service(
        "traces",
        partial(_serve, config),
        end_within_seconds=config.drain_timeout + END_SECONDS,
        with_parent=with_parent,
    )


class _Server(uvicorn.Server):
    """uvicorn, but the process's own signal handlers stay."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def _serve(config: TracesConfig, stop: asyncio.Event) -> None:
    listener = take_port(config.host, config.port)
    database = await Database.open(config.data / DATABASE)
    live = Live()
    limits = Limits(
        max_bytes=config.max_size,
        max_age_seconds=config.max_age,
        max_trace_spans=config.max_trace_spans,
        max_backlog_bytes=config.max_backlog,
    )
    intake = Intake(database, live, limits)
    api = Api(database, intake, live)
    app = TracesApp(OtlpHttp(intake, max_bytes=config.max_request), api, Pages())
    writing = asyncio.create_task(intake.run())
    try:
        grpc_server, grpc_address = _listen(config, intake)
        await grpc_server.start()
        try:
            addresses = {
                "traces": f"http://{address_of(config.host, listener.getsockname()[1])}",
                "grpc": grpc_address,
            }
            with announced(config.data, addresses["traces"]):
                await _serve_http(config, app, api, listener, addresses, stop)
        finally:
            await grpc_server.stop(config.drain_timeout)
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await database.close()


async def _serve_http(
    config: TracesConfig,
    app: TracesApp,
    api: Api,
    listener: socket.socket,
    addresses: Mapping[str, str],
    stop: asyncio.Event,
) -> None:
    server = _Server(
        uvicorn.Config(
            cast("Any", app),
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(config.drain_timeout),
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    logger.info("traces are at %s, and come in there and at %s", *addresses.values())
    print(ready_line(addresses), flush=True)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    logger.info("shutting down")
    api.drain()
    server.should_exit = True
    await serving


def _listen(config: TracesConfig, intake: Intake) -> tuple[grpc.aio.Server, str]:
    """Take the gRPC port; returns the server and the address to reach it at."""
    server = new_server(intake, max_bytes=config.max_request)
    check_port(config.host, config.grpc_port, flag="--grpc-port")
    try:
        port = server.add_insecure_port(address_of(config.host, config.grpc_port))
    except RuntimeError as error:
        raise StartError(f"cannot serve on port {config.grpc_port}: {error}") from None
    return server, address_of(config.host, port)
