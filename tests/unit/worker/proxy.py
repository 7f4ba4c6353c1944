"""A proxy on loopback that breaks connections the ways that a network and a stopped process do."""

import asyncio
from collections.abc import Awaitable


class Proxy:
    """A plain proxy to a port on loopback, which can be cut, or fall silent with all it holds."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._heard = asyncio.Event()
        self._heard.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._pipes: set[asyncio.Future[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def fall_silent(self) -> None:
        self._heard.clear()

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._start(self._join(reader, writer))

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers.append(forth)
        self._start(self._pipe(reader, forth))
        self._start(self._pipe(back, writer))

    def _start(self, pipe: Awaitable[None]) -> None:
        self._pipes.add(asyncio.ensure_future(pipe))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._heard.wait()
                writer.write(data)
        except OSError:
            pass  # it was cut
