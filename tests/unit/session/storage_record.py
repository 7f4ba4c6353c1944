"""What is on record of one session, for tests of its storage: it can be held up, and can fail."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from linkspan_session.storage.data import SessionData
from linkspan_session.storage.handler import HandlerStorage
from linkspan_session.storage.values import decode


class Record:
    """What is on record of one session; it can be held up, and can fail."""

    def __init__(self, max_bytes: int = 100_000) -> None:
        self.values: dict[str, bytes] = {}
        self.loads = 0
        self.commits: list[dict[str, bytes | None]] = []
        self.failure: Exception | None = None
        self.going = asyncio.Event()
        """Whether the store gets on with its work."""
        self.going.set()
        self.reached = asyncio.Event()
        """Whether it was asked for something."""
        self.data = SessionData(self.load, self.commit, max_bytes=max_bytes)

    def hold_up(self) -> None:
        self.going.clear()
        self.reached.clear()

    async def load(self) -> Mapping[str, bytes]:
        self.loads += 1
        await self._work()
        return dict(self.values)

    async def commit(self, writes: Mapping[str, bytes | None]) -> None:
        written = dict(writes)
        await self._work()
        self.commits.append(written)
        for key, value in written.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value

    async def _work(self) -> None:
        self.reached.set()
        await self.going.wait()
        if self.failure is not None:
            raise self.failure

    def read(self) -> dict[str, Any]:
        return {key: decode(value) for key, value in self.values.items()}

    # --- what the host does ----------------------------------------------------------------------

    def handler(self) -> HandlerStorage:
        return HandlerStorage(self.data)

    async def answer(self, storage: HandlerStorage) -> None:
        """End a handler well: its writes are on record with its answer."""
        try:
            writes = await storage.pending()
            await self.commit(writes)
            storage.committed()
        finally:
            storage.discard()

    @asynccontextmanager
    async def answering(self) -> AsyncGenerator[HandlerStorage]:
        """Run a handler that ends well."""
        storage = self.handler()
        yield storage
        await self.answer(storage)


Scenario = Callable[[Record], Coroutine[Any, Any, None]]


def run(scenario: Scenario, record: Callable[[], Record] = Record) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await scenario(record())

    asyncio.run(main())


async def settle() -> None:
    """Let everything run that can run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def increment(storage: HandlerStorage, key: str = "count") -> None:
    async with storage.transaction():
        before = await storage.get(key, 0)
        await asyncio.sleep(0)
        await storage.put(key, before + 1)
