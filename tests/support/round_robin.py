"""A plain proxy on loopback that gives each HTTP request's connection to the next server in turn.

It answers every request with `Connection: close` in effect: one request a connection, so that
consecutive requests of a client land on different servers.
"""

import asyncio
import itertools
import re
from collections.abc import Sequence
from typing import Final

_KEEP_ALIVE: Final = re.compile(rb"\r\nconnection:[^\r]*", re.IGNORECASE)


class RoundRobinProxy:
    """A proxy in front of several local ports; `start` it, and `close` it in its own loop."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.connections = [0] * len(ports)
        """How many connections each server was given."""
        self._turn = itertools.cycle(enumerate(ports))
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()

    async def start(self) -> int:
        """Serve on a free port, and return it."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Take no more connections, and let `closed` return."""
        if self._server is not None:
            self._server.close()
        self._closed.set()

    async def closed(self) -> None:
        """Wait until `close` was called, and all connections have ended."""
        await self._closed.wait()
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        index, port = next(self._turn)
        self.connections[index] += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()
            return
        except asyncio.CancelledError:
            writer.close()
            raise
        upstream_writer.write(_KEEP_ALIVE.sub(b"", head[:-4]) + b"\r\nconnection: close\r\n\r\n")
        up = asyncio.ensure_future(_pipe(reader, upstream_writer))
        down = asyncio.ensure_future(_pipe(upstream_reader, writer))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for stream in (writer, upstream_writer):
                stream.close()
            for task in (up, down):
                task.cancel()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # the other end went away, which ends the connection either way
