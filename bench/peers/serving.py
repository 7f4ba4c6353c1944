"""Serves an ASGI application as fast as uvicorn goes, on a free port, until standard input ends."""

import asyncio
import logging
import os
import socket
import sys
from typing import Any, Final

import uvicorn
import uvloop

_KEEP_ALIVE_SECONDS: Final = 75
_BACKLOG: Final = 4096


def serve(app: Any) -> None:
    """Serve with uvloop and httptools, without access log; prints a ready line once it listens."""
    logging.disable(logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app))


async def _serve(app: Any) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
    config = uvicorn.Config(
        app,
        log_level="error",
        http="httptools",
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            server.should_exit = True

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), read)
    print(f"ready mcp=http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    await server.serve(sockets=[listener])
