"""What one handler has written, and what it sees: `HandlerStorage`.

Above lie the handler, which sees it as a `SessionStorage`, and the host, which commits what is
pending with the handler's answer; below lies `data`, which all handlers of the session share.

The host's duties, in order, for each handler that it lent one to:

1. If what comes of the handler is an error, `discard()`.
2. Else `await pending()`. From here on the handler cannot use its storage any more. If this raises,
   `discard()`, and the error is what comes of the handler. It may wait for another commit of the
   session: hold nothing meanwhile that the `commit` of `SessionData` waits for.
3. Commit what it returned together with the answer, without being cancelled in between.
4. `committed()` as soon as that is on record, `discard()` if it is not.

Only what `pending()` returned is ever committed: `committed()` without it forgets the rest. Whichever
comes first ends the storage; another after it does nothing, so `discard()` can stand in a `finally`.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol

from linkspan_session.errors import StoreUnavailableError
from linkspan_session.storage.data import SessionData, check_room
from linkspan_session.storage.errors import (
    NestedTransactionError,
    StorageClosedError,
    StorageLimitError,
)
from linkspan_session.storage.values import check_key, decode, encode, entry_bytes


class _View(Protocol):
    """Keys and encoded values, as `SessionData` and `_Writes` have them."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def version(self) -> int: ...
    def get(self, key: str) -> bytes | None: ...
    def keys(self) -> Iterable[str]: ...


class _Writes:
    """Writes over a view, which they do not change; a view in turn."""

    def __init__(self, below: _View) -> None:
        self.by_key: dict[str, bytes | None] = {}
        self._below = below
        self._changes = 0
        self._growth_bytes = 0
        self._growth_known_at = below.version

    @property
    def version(self) -> int:
        """Grows with every change here or below."""
        return self._below.version + self._changes

    @property
    def size_bytes(self) -> int:
        """How much there is, writes included."""
        return self._below.size_bytes + self._growth()

    def get(self, key: str) -> bytes | None:
        """Return an encoded value; None if there is none."""
        return self.by_key[key] if key in self.by_key else self._below.get(key)

    def keys(self) -> Iterable[str]:
        """Return all keys, in any order."""
        untouched = (key for key in self._below.keys() if key not in self.by_key)  # noqa: SIM118
        return [*untouched, *(key for key, value in self.by_key.items() if value is not None)]

    def set(self, key: str, value: bytes | None, max_bytes: int) -> None:
        """Write a value, None deletes.

        Raises:
            StorageLimitError: It makes all there is larger than `max_bytes`.
        """
        larger = entry_bytes(key, value) - entry_bytes(key, self.get(key))
        check_room(self.size_bytes + larger, larger, max_bytes)
        self._growth_bytes += larger
        self.by_key[key] = value
        self._changes += 1

    def drop(self, keys: Iterable[str]) -> None:
        """Forget what was written to some keys."""
        for key in keys:
            self.by_key.pop(key, None)
        self._changes += 1
        self._growth_known_at = -1

    def _growth(self) -> int:
        """Say how much the writes add; counted anew only if there was a change below."""
        if self._growth_known_at != self._below.version:
            self._growth_bytes = sum(
                entry_bytes(key, value) - entry_bytes(key, self._below.get(key))
                for key, value in self.by_key.items()
            )
            self._growth_known_at = self._below.version
        return self._growth_bytes


class _Block:
    """A transaction that is open, until its block has been left."""

    def __init__(self, handler: "HandlerStorage", below: _View) -> None:
        self.handler: Final = handler
        self.writes: Final = _Writes(below)
        self.open = True


_block: Final[ContextVar[_Block | None]] = ContextVar("linkspan_transaction", default=None)
"""The transaction that the running code is in: tasks of one handler may each have their own."""


class HandlerStorage:
    """A session's storage as one handler sees it. The handler's side is that of `SessionStorage`."""

    def __init__(self, data: SessionData) -> None:
        """Make the storage of one handler; costs nothing until it is used.

        Args:
            data: What the session has.
        """
        self.failure: StoreUnavailableError | None = None
        """What the store failed with, if it did; handlers tend to make it an answer of theirs."""
        self._data = data
        self._pending = _Writes(data)
        self._one_block: Final = asyncio.Lock()
        self._holds_transactions = False
        self._holds_commits = False
        self._exclusive = False
        self._committing = False
        self._sealed = False
        self._over = False

    # --- for the handler -------------------------------------------------------------------------

    async def get(self, key: str, default: Any = None) -> Any:
        """See `SessionStorage.get`."""
        check_key(key)
        found = (await self._writes()).get(key)
        return default if found is None else decode(found)

    async def put(self, key: str, value: Any) -> None:
        """See `SessionStorage.put`."""
        check_key(key)
        encoded = encode(value)
        (await self._writes()).set(key, encoded, self._data.max_bytes)

    async def delete(self, key: str) -> bool:
        """See `SessionStorage.delete`."""
        check_key(key)
        writes = await self._writes()
        if writes.get(key) is None:
            return False
        writes.set(key, None, self._data.max_bytes)
        return True

    async def list(self, prefix: str = "") -> dict[str, Any]:
        """See `SessionStorage.list`."""
        writes = await self._writes()
        found = {key: writes.get(key) for key in writes.keys() if key.startswith(prefix)}  # noqa: SIM118
        return {key: decode(value) for key, value in sorted(found.items()) if value is not None}

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None]:
        """See `SessionStorage.transaction`."""
        if self._in_open_block():
            raise NestedTransactionError
        self._check_open()
        async with self._one_block:
            await self._keep_others_out()
            outer = _block.get()
            block = _Block(self, self._pending)
            _block.set(block)
            try:
                yield
                await self._commit(block.writes.by_key)
            finally:
                block.open = False
                _block.set(outer)
                if self._over or not self._exclusive:
                    self._let_others_in()

    async def exclusive(self) -> None:
        """See `SessionStorage.exclusive`."""
        self._check_open()
        if self._in_open_block():  # it keeps the others out already
            self._exclusive = True
            return
        async with self._one_block:
            await self._keep_others_out()
            self._exclusive = True

    # --- for the host ----------------------------------------------------------------------------

    def seal(self) -> bool:
        """Take the storage away from the handler; return whether there is something to commit."""
        self._sealed = True
        return bool(self._pending.by_key)

    async def pending(self) -> Mapping[str, bytes | None]:
        """Take the storage away from the handler; return what to commit, None deletes.

        Waits until it is this handler's turn to commit, and keeps it until `committed()` or
        `discard()`; if there is nothing to commit, it neither waits nor keeps anything.

        Raises:
            StorageLimitError: Others have taken the room since it was written.
        """
        writes = self._pending.by_key
        if self.seal():
            await self._data.commits.acquire()
            self._holds_commits = True
            try:
                self._data.check_room(writes)
            except StorageLimitError:
                self._let_others_commit()
                raise
        return dict(writes)

    def committed(self) -> None:
        """Say that what `pending()` returned is on record; the other handlers see it from now on."""
        if self._holds_commits:
            self._data.apply(self._pending.by_key)
        self._end()

    def discard(self) -> None:
        """Forget what the handler wrote; does nothing after `committed()`."""
        self._end()

    # --- turns -----------------------------------------------------------------------------------

    async def _keep_others_out(self) -> None:
        if self._holds_transactions:
            return
        await self._data.transactions.acquire()
        self._holds_transactions = True
        if self._sealed:
            self._let_others_in()
            self._check_open()

    def _let_others_in(self) -> None:
        if self._holds_transactions:
            self._holds_transactions = False
            self._data.transactions.release()

    def _let_others_commit(self) -> None:
        if self._holds_commits:
            self._holds_commits = False
            self._data.commits.release()

    async def _commit(self, writes: Mapping[str, bytes | None]) -> None:
        """Commit what a transaction wrote."""
        self._check_open()
        if not writes:
            return
        async with self._data.commits:
            self._check_open()  # the handler may have ended meanwhile
            self._data.check_room(writes)
            self._committing = True
            try:
                await _to_the_end(self._commit_now(writes))
            finally:
                self._committing = False

    async def _commit_now(self, writes: Mapping[str, bytes | None]) -> None:
        with self._noting_failure():
            await self._data.commit(writes)
        self._pending.drop(writes)  # else the answer would write what is older than the block's

    def _end(self) -> None:
        if self._holds_commits:
            self._let_others_commit()
        self._sealed = self._over = True
        # Else the transaction lets the others in when it is on record.
        if self._holds_transactions and not self._committing:
            self._let_others_in()

    # --- views -----------------------------------------------------------------------------------

    async def _writes(self) -> _Writes:
        """Return where the running code writes, once that is known to be open and loaded."""
        self._check_open()
        with self._noting_failure():
            await self._data.loaded()
        self._check_open()
        block = self._block()
        if block is None:
            return self._pending
        if not block.open:
            raise StorageClosedError("the transaction that this task was begun in is over")
        return block.writes

    @contextmanager
    def _noting_failure(self) -> Generator[None]:
        try:
            yield
        except StoreUnavailableError as error:
            self.failure = error
            raise

    def _block(self) -> _Block | None:
        block = _block.get()
        return block if block is not None and block.handler is self else None

    def _in_open_block(self) -> bool:
        block = self._block()
        return block is not None and block.open

    def _check_open(self) -> None:
        if self._sealed:
            raise StorageClosedError(
                "the handler that this storage was lent to is over; write before it returns"
            )


async def _to_the_end(commit: Coroutine[Any, Any, None]) -> None:
    """Run a commit to its end even if the caller is cancelled, who hears of that afterwards."""
    running = asyncio.ensure_future(commit)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        running.exception()  # looked at, so that asyncio does not report it
        raise cancelled
    running.result()
