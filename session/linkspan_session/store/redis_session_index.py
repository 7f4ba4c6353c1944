"""What finds sessions in Redis without their ids: by principal, by creation, by expiry.

It lies in other slots than the sessions, so it may hold what is not there: an entry from before its
record is added, or after it is gone. Above lies `redis_sessions`, which says why that is sound.
"""

from typing import Final

from linkspan_session.store.base import Principal, SessionId, SessionRecord
from linkspan_session.store.redis_keys import (
    SESSIONS_BY_CREATION,
    SESSIONS_BY_EXPIRY,
    IndexEntry,
    after_bound,
    entry_of,
    principal_digest,
    principal_sessions_key,
    suspects_mark_key,
)
from linkspan_session.store.redis_link import RedisLink
from linkspan_session.store.redis_scripts import PRINCIPAL_RESERVE, PRINCIPAL_SUSPECTS

_LOOK_AGAIN_SECONDS: Final = 10
"""How long after places were looked through they are not looked through again."""

_NEW_SECONDS: Final = 60
"""How long a place may be taken before its record is there."""

_MAX_SUSPECTS: Final = 1000


class SessionIndex:
    """The indexes. Every method may raise `StoreUnavailableError` and can be called again."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    @staticmethod
    def session_of(entry: bytes) -> SessionId:
        """Return the session of an entry."""
        return IndexEntry.decode(entry).session_id

    async def take_place(self, record: SessionRecord, most: int) -> bool | None:
        """Take a place among a principal's sessions; False if it had one, None if it is full."""
        key = _places_of(record.principal)
        (word,) = await self._link.run(PRINCIPAL_RESERVE, [key], record.session_id, most)
        return {b"taken": True, b"there": False, b"full": None}[word]

    async def suspects(self, principal: Principal) -> list[SessionId]:
        """Return sessions whose places may be left over from a crash; nothing if asked often."""
        key = _places_of(principal)
        _, *answer = await self._link.run(
            PRINCIPAL_SUSPECTS,
            [key, suspects_mark_key(key)],
            _LOOK_AGAIN_SECONDS,
            _NEW_SECONDS,
            _MAX_SUSPECTS,
        )
        return [SessionId(each.decode()) for each in answer]

    async def free_places(self, principal: Principal, session_ids: list[SessionId]) -> None:
        """Give places back."""
        await self._link.command("ZREM", _places_of(principal), *session_ids)

    async def add(self, record: SessionRecord) -> None:
        """Add the entries of a session that is about to be added."""
        entry = entry_of(record).encode()
        await self._link.command("ZADD", SESSIONS_BY_CREATION, 0, entry)
        await self._link.command("ZADD", SESSIONS_BY_EXPIRY, "LT", record.expires_millis, entry)

    async def give_back(self, record: SessionRecord) -> None:
        """Undo `take_place`; the entries of `add` are found to be of nothing when they are due."""
        await self.free_places(record.principal, [record.session_id])

    async def correct(self, refused: SessionRecord, there: SessionRecord, *, taken: bool) -> None:
        """Take back what was done for a session whose id was there already.

        Args:
            refused: What was to be added.
            there: What is there.
            taken: Whether a place was taken for it.
        """
        same = refused.principal == there.principal and there.closed is None
        if taken and not same:
            await self.give_back(refused)
        if entry_of(refused) != entry_of(there):
            entry = entry_of(refused).encode()
            await self._link.command("ZREM", SESSIONS_BY_CREATION, entry)
            await self._link.command("ZREM", SESSIONS_BY_EXPIRY, entry)

    async def close(self, entry: bytes, keep_until_millis: int) -> None:
        """Take a session that was closed from all indexes but that by expiry."""
        key = principal_sessions_key(IndexEntry.decode(entry).principal_digest)
        await self._link.command("ZREM", key, self.session_of(entry))
        await self._link.command("ZREM", SESSIONS_BY_CREATION, entry)
        await self._link.command("ZADD", SESSIONS_BY_EXPIRY, keep_until_millis, entry)

    async def remove(self, entry: bytes) -> None:
        """Take a session that is gone from all indexes."""
        key = principal_sessions_key(IndexEntry.decode(entry).principal_digest)
        await self._link.command("ZREM", key, self.session_of(entry))
        await self._link.command("ZREM", SESSIONS_BY_CREATION, entry)
        await self._link.command("ZREM", SESSIONS_BY_EXPIRY, entry)

    async def put_off(self, entry: bytes, due_millis: int) -> None:
        """Say when to look at a session again."""
        await self._link.command("ZADD", SESSIONS_BY_EXPIRY, "XX", due_millis, entry)

    async def due(self, now_millis: int, skip: int, limit: int) -> list[bytes]:
        """Return entries of sessions that may be due, the longest due first, without so many."""
        entries: list[bytes] = await self._link.command(
            "ZRANGEBYSCORE", SESSIONS_BY_EXPIRY, "-inf", now_millis, "LIMIT", skip, limit
        )
        return entries

    async def page(self, after: tuple[int, SessionId] | None, limit: int) -> list[IndexEntry]:
        """Return sessions ordered by creation and id, beginning after one."""
        start = b"-" if after is None else after_bound(*after)
        entries: list[bytes] = await self._link.command(
            "ZRANGEBYLEX", SESSIONS_BY_CREATION, start, "+", "LIMIT", 0, limit
        )
        return [IndexEntry.decode(entry) for entry in entries]


def _places_of(principal: Principal) -> str:
    return principal_sessions_key(principal_digest(principal))
