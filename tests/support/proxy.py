"""A network that breaks on demand: a TCP proxy on loopback, in a thread of its own.

What it has not passed on yet it keeps, so that a proxy which passes again after it hung loses
nothing; whoever is cut off is told by a reset, as if the machine at the other end had started anew.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

_CHUNK_BYTES: Final = 65536
_END_SECONDS: Final = 30.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: closing drops what is unsent and resets the connection (socket(7))."""


class BrokenNetworkProxy:
    """A proxy before one local port. Make it with `running_proxy`; any thread may call it.

    Attributes:
        port: Where it is reached; stays its own while it refuses.
        upstream: The port that it passes on to; may be set once that is known.
    """

    def __init__(self, upstream: int = 0) -> None:
        """Take a port; nothing is served before `run`.

        Args:
            upstream: The port to pass on to; 0 if it is not known yet.
        """
        self.upstream = upstream
        self._place = _bound_socket(0)  # holds the port while nobody listens on it
        self.port: int = self._place.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._listener: socket.socket | None = None
        self._links: set[_Link] = set()
        self._accepted = 0
        self._passing = asyncio.Event()
        self._passing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def address(self) -> str:
        """Where it is reached, as `host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def accepted(self) -> int:
        """How many connections it has taken so far."""
        return self._accepted

    def start(self) -> None:
        """Listen, and pass everything on."""
        self._thread.start()
        self._do(self._listen)

    def stop(self) -> None:
        """Reset all connections, give the port back, and end."""
        self._wait_for(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=_END_SECONDS)
        self._loop.close()
        self._place.close()

    def refuse(self) -> None:
        """Reset all connections, which are told when this returns, and refuse new ones."""
        self._wait_for(self._refuse())

    def hang(self) -> None:
        """Keep all connections, take new ones, and move no bytes in either direction."""
        self._do(self._passing.clear)

    def go_on(self) -> None:
        """Undo `refuse` and `hang`."""
        self._do(self._go_on)

    def reset(self) -> None:
        """Reset all connections that there are, which are told when this returns; pass new ones on."""
        self._wait_for(self._reset())

    def half_close(self, *, towards_client: bool) -> None:
        """Say on all connections that there are that nothing more will come.

        Args:
            towards_client: Whether to say so to whoever connected; else to the port behind.
        """
        self._do(lambda: self._half_close(towards_client=towards_client))

    def cut_after(self, count: int) -> None:
        """Reset each connection that there is once it has passed on so many more bytes of answers."""
        self._do(lambda: self._cut_after(count))

    # --- in the loop -----------------------------------------------------------------------------

    def _do(self, what: Callable[[], None]) -> None:
        async def run() -> None:
            what()

        self._wait_for(run())

    def _wait_for(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(timeout=_END_SECONDS)

    def _listen(self) -> None:
        self._listener = _bound_socket(self.port)
        self._listener.listen()
        self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self._reset()

    def _go_on(self) -> None:
        self._passing.set()
        if self._listener is None:
            self._listen()

    async def _reset(self) -> None:
        links = list(self._links)
        for link in links:
            link.reset()
        ending = [link.task for link in links if link.task is not None]
        await asyncio.gather(*ending, return_exceptions=True)  # each is closed when its task ends

    def _half_close(self, *, towards_client: bool) -> None:
        for link in self._links:
            with suppress(OSError):
                (link.client if towards_client else link.server).shutdown(socket.SHUT_WR)

    def _cut_after(self, count: int) -> None:
        for link in self._links:
            link.bytes_left = count

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it has left again
            return
        self._accepted += 1
        link = _Link(self._loop, client, self._passing)
        self._links.add(link)
        task = self._loop.create_task(link.carry(self.upstream))
        link.task = task
        task.add_done_callback(partial(self._forget, link))

    def _forget(self, link: "_Link", _: "asyncio.Task[None]") -> None:
        link.close()  # also where it was reset before it carried anything
        self._links.discard(link)


class _Link:
    """A connection to the proxy, and the one from it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, client: socket.socket, passing: asyncio.Event
    ) -> None:
        self.client = client
        self.server = socket.socket()
        self.bytes_left: int | None = None
        """How many bytes of answers may pass before the connection is reset; None for all."""
        self.task: asyncio.Task[None] | None = None
        self._loop = loop
        self._passing = passing

    async def carry(self, port: int) -> None:
        """Move bytes both ways until one end is gone; whoever waits for that closes both."""
        try:
            self.client.setblocking(False)
            self.server.setblocking(False)
            await self._passing.wait()
            await self._loop.sock_connect(self.server, ("127.0.0.1", port))
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(self.client, self.server, counted=False))
                pumps.create_task(self._pump(self.server, self.client, counted=True))
        except* (OSError, asyncio.CancelledError):  # an end is gone, or is to go
            self._say_no_farewell()

    def reset(self) -> None:
        """End it without a word of farewell."""
        self._say_no_farewell()
        if self.task is not None:
            self.task.cancel()

    def close(self) -> None:
        """Close both ends."""
        self.client.close()
        self.server.close()

    def _say_no_farewell(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    async def _pump(self, source: socket.socket, sink: socket.socket, *, counted: bool) -> None:
        while data := await self._loop.sock_recv(source, _CHUNK_BYTES):
            await self._passing.wait()
            cut = counted and self.bytes_left is not None and len(data) >= self.bytes_left
            if counted and self.bytes_left is not None:
                data = data[: self.bytes_left]
                self.bytes_left -= len(data)
            await self._loop.sock_sendall(sink, data)
            if cut:
                self.reset()
        await self._passing.wait()
        sink.shutdown(socket.SHUT_WR)


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    bound.setblocking(False)
    return bound


@contextmanager
def running_proxy(upstream: int = 0) -> Generator[BrokenNetworkProxy]:
    """Run a proxy until the block is left.

    Args:
        upstream: The port to pass on to; 0 if it is not known yet.
    """
    proxy = BrokenNetworkProxy(upstream)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
