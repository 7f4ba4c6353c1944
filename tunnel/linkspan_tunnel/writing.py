"""Writes what an outbox holds, one message after the other. Above lie both tunnels."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic

from linkspan_tunnel.outbox import Batch, Outbox


class Writer(Generic[Batch]):
    """Takes messages out of an outbox and writes them, while others are gathered."""

    def __init__(self, new_batch: Callable[[], Batch]) -> None:
        """Begin, with an empty outbox."""
        self.outbox: Outbox[Batch] = Outbox(new_batch, self._wake)
        self._waiting: asyncio.Future[None] | None = None
        self._ending = False

    async def run(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write until `end` was called and all is written.

        Raises:
            Exception: What `write` raises.
        """
        loop = asyncio.get_running_loop()
        outbox = self.outbox
        while True:
            while outbox.has_work():
                await write(outbox.take())
            if self._ending:
                return
            self._waiting = loop.create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    def end(self) -> None:
        """Have `run` return once all is written."""
        self._ending = True
        self._wake()

    def _wake(self) -> None:
        waiting = self._waiting
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
