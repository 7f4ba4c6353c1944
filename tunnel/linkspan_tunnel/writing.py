"""Writes what an outbox holds, one message after the other. Above lie both tunnels."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic

from linkspan_tunnel.outbox import Batch, Outbox

_PATIENCE_SECONDS: Final = 0.001
"""How long what can wait for company does."""


class Writer(Generic[Batch]):
    """Takes messages out of an outbox and writes them, while others are gathered."""

    def __init__(self, new_batch: Callable[[], Batch]) -> None:
        """Begin, with an empty outbox."""
        self.outbox: Outbox[Batch] = Outbox(new_batch, self._wake, self._wake_later)
        self._waiting: asyncio.Future[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._ending = False

    async def run(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write until `end` was called and all is written.

        Raises:
            Exception: What `write` raises.
        """
        loop = asyncio.get_running_loop()
        outbox = self.outbox
        try:
            while True:
                while outbox.has_work():
                    await write(outbox.take())
                if self._ending:
                    return
                self._waiting = loop.create_future()
                await self._waiting
        finally:
            self._waiting = None
            if self._patience is not None:
                self._patience.cancel()

    def end(self) -> None:
        """Have `run` return once all is written."""
        self._ending = True
        self._wake()

    def _wake_later(self) -> None:
        """Wake for what can wait for company; whatever comes before that wakes at once."""
        if self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(_PATIENCE_SECONDS, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        if self.outbox.has_work():  # else it has found company and left
            self._wake()

    def _wake(self) -> None:
        waiting = self._waiting
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
