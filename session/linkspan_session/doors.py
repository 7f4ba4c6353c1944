"""Doors: of those who would bring one session into memory, or out of it, one at a time does."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from linkspan_session.store import SessionId


class Doors:
    """The doors that somebody stands at; the others cost nothing."""

    def __init__(self) -> None:
        self._taken: dict[SessionId, tuple[asyncio.Lock, int]] = {}

    def __contains__(self, session_id: SessionId) -> bool:
        """Whether somebody is behind a session's door, or waits for it."""
        return session_id in self._taken

    def __len__(self) -> int:
        """How many doors somebody stands at."""
        return len(self._taken)

    @asynccontextmanager
    async def through(self, session_id: SessionId) -> AsyncGenerator[None]:
        """Go through a session's door, once nobody else is behind it; waits in order."""
        lock, standing = self._taken.get(session_id, (asyncio.Lock(), 0))
        self._taken[session_id] = (lock, standing + 1)
        try:
            async with lock:
                yield
        finally:
            _, standing = self._taken[session_id]
            if standing == 1:
                del self._taken[session_id]
            else:
                self._taken[session_id] = (lock, standing - 1)
