"""One session's way to the store, as its owner: every commit names the owner and its epoch.

Above lie `live` and `streams`; below lies the store. A commit that is refused, because another
session server owns the session by now, ends the session here: nothing more of it is written or
read, and whoever waits for it is told to ask again.
"""

import asyncio
import logging
from collections.abc import Callable

from linkspan_contract.session_digest import session_digest
from linkspan_session.errors import NotOwnerError, RecordTooNewError, SessionMovedError
from linkspan_session.store import (
    Changes,
    Ownership,
    SessionStore,
    StreamRecord,
)

commit_log = logging.getLogger("linkspan_session.commits")
"""Each commit at debug level, sessions by the digest of their ids. From the logs of all session
servers one can tell that no session was owned twice: versions are given once, and an epoch has one
owner."""


class Journal:
    """What is on record of one session."""

    def __init__(
        self, store: SessionStore, ownership: Ownership, on_lost: Callable[[], None]
    ) -> None:
        """Make a journal.

        Args:
            store: Where it is on record.
            ownership: As whom to write.
            on_lost: Called once, when a commit was refused.
        """
        self.ownership = ownership
        self._store = store
        self._on_lost = on_lost
        self._lost = False
        self._turn = asyncio.Lock()
        self._digest = session_digest(ownership.session_id)

    async def commit(self, changes: Changes) -> None:
        """Write changes, all or nothing, durable when it returns; in the order of the calls.

        Raises:
            SessionMovedError: Another session server owns the session; nothing was written.
            StoreUnavailableError: The store does not answer.
            asyncio.CancelledError: As ever; also of a task that `on_lost` cancels.
        """
        ownership = self.ownership
        try:
            async with self._turn:
                version = await self._commit_whole(changes)
        except (NotOwnerError, RecordTooNewError):  # who wrote what is too new owns it by now
            commit_log.debug(
                "refused session=%s epoch=%d owner=%s",
                self._digest,
                ownership.epoch,
                ownership.owner,
            )
            if not self._lost:
                self._lost = True
                self._on_lost()
            # A handler that this stops is cancelled here: it has no error of its own to report.
            await asyncio.sleep(0)
            raise SessionMovedError from None
        commit_log.debug(
            "commit session=%s epoch=%d owner=%s version=%d",
            self._digest,
            ownership.epoch,
            ownership.owner,
            version,
        )

    async def _commit_whole(self, changes: Changes) -> int:
        """Commit, and keep the turn until it is known how that ended, even if cancelled."""
        writing = asyncio.ensure_future(self._store.commit(self.ownership, changes))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            while not writing.done():
                await asyncio.wait({writing})
            if not writing.cancelled():
                writing.exception()  # it is nobody's any more
            raise

    async def get_stream(self, stream_id: str) -> StreamRecord | None:
        """Return a stream, or None if there is none, or none any more."""
        return await self._store.get_stream(self.ownership.session_id, stream_id)

    async def find_stream(self, request_key: str) -> StreamRecord | None:
        """Return the stream that answers a request; None if there is none, or it has no key."""
        if not request_key:
            return None
        return await self._store.find_stream(self.ownership.session_id, request_key)

    async def read_events(self, stream_id: str, *, after: int) -> list[tuple[int, bytes]]:
        """Return a stream's events with numbers above `after`, in order."""
        return await self._store.read_events(self.ownership.session_id, stream_id, after=after)

    async def read_storage(self) -> dict[str, bytes]:
        """Return all of the session's storage."""
        return await self._store.read_storage(self.ownership.session_id)
