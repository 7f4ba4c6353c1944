"""All that one session stores: loaded once, kept in memory, changed by commits only.

Above lie `live`, which makes one for a session and drops it when the session sleeps, and `handler`,
through which handlers read and write; below lies whatever the session's owner commits with. Lives
on the event loop only. Invariants: what is in memory is what is on record, since one server owns
the session, commits happen one after another, and memory follows once a commit has happened; a
session is never over its limit by a commit that makes it larger.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from linkspan_session.storage.errors import StorageLimitError
from linkspan_session.storage.values import DEFAULT_MAX_BYTES, entry_bytes

Load = Callable[[], Awaitable[Mapping[str, bytes]]]
"""Reads all of the session's storage."""

Commit = Callable[[Mapping[str, bytes | None]], Awaitable[None]]
"""Writes values, None deletes: durably, all of it or nothing. Is never cancelled."""


class SessionData:
    """The encoded values of one session, and the turns that its handlers take."""

    def __init__(self, load: Load, commit: Commit, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Make the storage of a session, not loaded yet.

        Args:
            load: Reads all of it; what it raises the handler gets, and the next use tries again.
            commit: Writes what a transaction wrote; what it raises the handler gets.
            max_bytes: How much the session may store, in bytes of keys and encoded values.
        """
        self.max_bytes: Final = max_bytes
        self.transactions: Final = asyncio.Lock()
        """Held by the handler that is in a transaction or exclusive."""
        self.commits: Final = asyncio.Lock()
        """Held by whoever commits, until memory has followed."""
        self.size_bytes = 0
        """How much is stored."""
        self.version = 0
        """Grows with every change."""
        self._load = load
        self._commit = commit
        self._values: dict[str, bytes] | None = None
        self._loading: asyncio.Future[Exception | None] | None = None

    async def loaded(self) -> None:
        """Load what is on record, unless it is in memory already; all who wait share one load."""
        while self._values is None:
            if self._loading is None:
                await self._load_now()
            else:
                waited_for = self._loading
                await asyncio.wait([waited_for])
                failure = waited_for.result()
                if failure is not None:
                    raise failure

    def get(self, key: str) -> bytes | None:
        """Return an encoded value, None if there is none; needs to be loaded."""
        return self._in_memory().get(key)

    def keys(self) -> Iterable[str]:
        """Return all keys, in any order; needs to be loaded."""
        return self._in_memory().keys()

    def check_room(self, writes: Mapping[str, bytes | None]) -> None:
        """Refuse writes that would make the session larger than it may be.

        Raises:
            StorageLimitError: They would. Writes that make it no larger are never refused.
        """
        growth = sum(
            entry_bytes(key, value) - entry_bytes(key, self.get(key))
            for key, value in writes.items()
        )
        check_room(self.size_bytes + growth, growth, self.max_bytes)

    async def commit(self, writes: Mapping[str, bytes | None]) -> None:
        """Put writes on record, then into memory; the caller holds `commits`.

        To be run to its end: if it were cancelled, nobody would know what is on record.
        """
        await self._commit(writes)
        self.apply(writes)

    def apply(self, writes: Mapping[str, bytes | None]) -> None:
        """Put into memory what is on record now; the caller holds `commits`."""
        values = self._values
        if values is None:  # it was forgotten, and will be loaded with this
            return
        for key, value in writes.items():
            self.size_bytes += entry_bytes(key, value) - entry_bytes(key, values.get(key))
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value
        self.version += 1

    def forget(self) -> None:
        """Load it anew at the next use: it is not known for sure what is on record."""
        self._values = None
        self.version += 1

    async def _load_now(self) -> None:
        loading = self._loading = asyncio.get_running_loop().create_future()
        failure: Exception | None = None
        try:
            values = dict(await self._load())
            self.size_bytes = sum(entry_bytes(key, value) for key, value in values.items())
            self.version += 1
            self._values = values
        except Exception as error:
            failure = error
            raise
        finally:  # if it was cancelled, one of those who wait loads instead
            self._loading = None
            loading.set_result(failure)

    def _in_memory(self) -> dict[str, bytes]:
        if self._values is None:
            raise RuntimeError("the storage is used before it is loaded")
        return self._values


def check_room(total_bytes: int, growth_bytes: int, max_bytes: int) -> None:
    """Refuse a total that is too large, unless nothing has grown.

    Raises:
        StorageLimitError: It is.
    """
    if growth_bytes > 0 and total_bytes > max_bytes:
        raise StorageLimitError(
            f"a session stores at most {max_bytes} bytes; with this it would be {total_bytes}"
        )
