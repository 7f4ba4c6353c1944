"""The same server served by the MCP SDK itself, sessions in memory, to compare with.

Run as `python bench/sessions/sdk_peer.py json` or `... sse`, which is what it answers with. Prints a
ready line; ends with its standard input. As fast as it goes: uvloop, httptools, no event store, no
limit to the number of sessions.
"""

import asyncio
import importlib.util
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

_HOSTED = Path(__file__).parent / "hosted.py"


def load_hosted() -> Any:
    """Load the server by its path, as session servers do."""
    spec = importlib.util.spec_from_file_location("bench_hosted", _HOSTED)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{_HOSTED} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mcp


async def serve(*, json_response: bool) -> None:
    """Serve until standard input ends."""
    app = load_hosted().streamable_http_app(json_response=json_response, max_sessions=None)
    listener = socket.create_server(("127.0.0.1", 0))
    logging.disable(logging.WARNING)
    config = uvicorn.Config(
        app,
        log_level="error",
        http="httptools",
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            server.should_exit = True

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), read)
    print(f"ready mcp=http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(json_response=sys.argv[1] == "json"))
