"""The everything example served by the MCP SDK itself, without Linkspan, to compare with.

Run as `python bench/sdk_server.py`. Prints a ready line; ends with its standard input. Events are
kept in memory, so that streams can be resumed, as far as the SDK goes.
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
from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from mcp_types import JSONRPCMessage

EXAMPLE = Path(__file__).parents[1] / "examples" / "everything" / "server.py"


class MemoryEventStore(EventStore):
    """Keeps all events of all streams, for as long as the process lives."""

    def __init__(self) -> None:
        self._events: list[tuple[StreamId, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        """Keep an event; its id is its place in the list, from 1."""
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(
        self, last_event_id: EventId, send_callback: EventCallback
    ) -> StreamId | None:
        """Send what followed on the stream of an event."""
        seen = int(last_event_id)
        stream, _ = self._events[seen - 1]
        for number, (each, message) in enumerate(self._events[seen:], start=seen + 1):
            if each == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


def load_example() -> Any:
    """Load the example as Linkspan does: by path, its folder first on the module path."""
    sys.path.insert(0, str(EXAMPLE.parent))
    spec = importlib.util.spec_from_file_location("everything_server", EXAMPLE)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{EXAMPLE} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mcp


async def serve() -> None:
    """Serve until standard input ends."""
    app = load_example().streamable_http_app(event_store=MemoryEventStore(), retry_interval=1000)
    listener = socket.create_server(("127.0.0.1", 0))
    logging.disable(logging.WARNING)
    config = uvicorn.Config(app, log_level="error", http="httptools", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            server.should_exit = True

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), read)
    print(f"ready mcp=http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(serve())
