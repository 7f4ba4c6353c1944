"""HTTP/1.1 as bytes: a server in this process, applications for it, and clients that see it all."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from linkspan_worker.http import ClientGoneError, HttpBounds, HttpExchange, HttpServer, HttpTimes

Application: TypeAlias = Callable[[HttpExchange], Coroutine[Any, Any, None]]

LONG_SECONDS: Final = 30.0
SHORT_SECONDS: Final = 0.05
SOME_SECONDS: Final = 0.5
"""As short as the server's patience may be where a client must be quicker, on any machine."""
PATIENCE_SECONDS: Final = 30.0
"""How long any of these tests may take before it has failed."""
PROMPTLY_SECONDS: Final = 15.0
"""How long a slow machine may take for what the server does at once; its patience is longer."""

TEXT: Final = (("content-type", "text/plain"),)
GET: Final = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
POST_FIVE: Final = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 5\r\n\r\n"
CHUNKED: Final = b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\nhost: here\r\n\r\n"


@dataclass
class Response:
    """What came back, its framing taken off."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list[bytes])


class Client:
    """A connection that sends bytes as they are, and reads responses."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> Response:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, status, _ = lines[0].split(" ", 2)
        assert version == "HTTP/1.1"
        headers = dict(line.split(": ", 1) for line in lines[1:-2])
        assert len(headers) == len(lines) - 3, f"a header comes twice: {lines}"
        return Response(int(status), headers)

    async def response(self) -> Response:
        response = await self.head()
        if "content-length" in response.headers:
            response.body = await self.reader.readexactly(int(response.headers["content-length"]))
        elif response.headers.get("transfer-encoding") == "chunked":
            while chunk := await self.chunk():
                response.chunks.append(chunk)
            response.body = b"".join(response.chunks)
        else:
            response.body = await self.reader.read()
        return response

    async def chunk(self) -> bytes:
        size = int(await self.reader.readline(), 16)
        chunk = await self.reader.readexactly(size + 2)
        assert chunk.endswith(b"\r\n")
        return chunk[:-2]

    async def rest(self) -> bytes:
        """Return all that comes until the server closes; fails if it breaks the connection."""
        return await self.reader.read()

    def have_kernel_hold_little(self) -> None:
        """Have what the server does not read stay here."""
        handle = self.writer.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def leave(self) -> None:
        """Close, in such a way that the server learns of it."""
        self.writer.close()

    def break_off(self) -> None:
        """Close without a word of goodbye: by a reset."""
        handle = self.writer.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Running:
    """A server that accepts connections."""

    server: HttpServer
    address: tuple[str, int]
    clients: list[Client]

    async def client(self, source: str = "127.0.0.1") -> Client:
        """Connect, from an address of this machine."""
        reader, writer = await asyncio.open_connection(*self.address, local_addr=(source, 0))
        self.clients.append(Client(reader, writer))
        return self.clients[-1]

    async def ask(self, request: bytes = GET) -> Response:
        """Ask on a connection of its own."""
        client = await self.client()
        await client.send(request)
        return await client.response()

    async def without_clients(self) -> None:
        """Wait until all connections have ended, as the server sees it."""
        while self.server.connections:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)


@asynccontextmanager
async def serving(
    application: Application,
    *,
    message_seconds: float = LONG_SECONDS,
    keep_alive_seconds: float = LONG_SECONDS,
    receive_buffer_bytes: int | None = None,
    fields_of: Callable[[HttpExchange], str] = lambda _: "",
    bounds: HttpBounds | None = None,
) -> AsyncGenerator[Running]:
    """Serve until the block is left, and no longer than a test may take."""
    listener = socket.socket()
    if receive_buffer_bytes is not None:  # accepted connections have what the listener has
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    listener.bind(("127.0.0.1", 0))
    listener.setblocking(False)
    times = HttpTimes(message_seconds, keep_alive_seconds)
    server = HttpServer(application, times, bounds or HttpBounds(), fields_of=fields_of)
    running = Running(server, listener.getsockname(), [])
    async with asyncio.timeout(PATIENCE_SECONDS):
        await server.start(listener)
        try:
            yield running
        finally:
            await server.drain(0)
            await server.close()
            await running.without_clients()
            for client in running.clients:
                client.writer.close()


async def unsent_bytes(client: Client) -> int:
    """Wait until a server reads no further, and return how much is left to send."""
    transport = client.writer.transport
    seen, left = -1, transport.get_write_buffer_size()
    while left and left != seen:
        await asyncio.wait([asyncio.ensure_future(client.writer.drain())], timeout=SHORT_SECONDS)
        seen, left = left, transport.get_write_buffer_size()
    return left


async def echo(exchange: HttpExchange) -> None:
    """Say what was asked."""
    pieces = [f"{exchange.method} {exchange.path} ".encode()]
    while piece := await exchange.read():
        pieces.append(piece)
    exchange.respond(200, TEXT, b"".join(pieces))


class Held:
    """An application whose answers wait until they are let go."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.released = asyncio.Event()
        self.gone = 0

    async def __call__(self, exchange: HttpExchange) -> None:
        exchange.on_gone = self._count
        self.arrived.set()
        await self.released.wait()
        if not exchange.gone:
            exchange.respond(200, TEXT, b"held")

    def _count(self) -> None:
        self.gone += 1
        self.released.set()


def streams(*pieces: bytes) -> Application:
    """Answer with these pieces, one after the other."""

    async def application(exchange: HttpExchange) -> None:
        exchange.begin(200, TEXT)
        for piece in pieces:
            exchange.write(piece)
        exchange.end()

    return application


class Reads:
    """An application that reads bodies, and notes what became of that."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.reading = asyncio.Event()
        self.failed = False

    async def __call__(self, exchange: HttpExchange) -> None:
        self.paths.append(exchange.path)
        self.reading.set()
        try:
            await echo(exchange)
        except ClientGoneError:
            self.failed = True


def get(path: str, *headers: str) -> bytes:
    """Write a request."""
    lines = "".join(f"{line}\r\n" for line in ("host: here", *headers))
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def exchanged(request: bytes, application: Application = echo) -> bytes:
    """Send bytes, and return all that comes back until the server closes."""

    async def scene() -> bytes:
        async with serving(application) as running:
            client = await running.client()
            await client.send(request)
            return await client.rest()

    return asyncio.run(scene())


def split(raw: bytes) -> tuple[list[str], bytes]:
    """Return the lines of a head, and the body."""
    head, _, body = raw.partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), body
