"""A `SessionStore` in Redis: each write to a session is one script, in the slot of that session.

What lies in other slots follows or precedes it, and heals by itself if a crash comes between:

- A principal's sessions are counted in the principal's slot. A place is taken before the record is
  added, so racing calls cannot exceed the bound, and given back when the session is closed.
- The indexes by creation and by expiry hold an entry from before a record is added until it is
  gone. The index by expiry may be early, never late: `expire` asks the record, and puts the entry
  off. So a commit that moves the deadline does not touch it.
- Leases are in the slot of the nodes: `get` reads the record, then asks for its owner.

Memory is returned without any session server, too: all keys of a session expire. How long they
stay counts from the last use that the record names, never from the server's clock, so clocks that
disagree lose nothing: events and storage a minute beyond the session's time, its record a day.

A write that was not answered in time may have been done, or be done yet, so here an unavailable
store may have changed something after all. A commit that was given up thus is voided by the next
one of the same owner; if it was done before that, this raises `NotOwnerError`, since what the owner
has in memory is not what is on record. Not so one that only says how long the session lives: it may
be done late, or never, as long as the owner is the same.
"""

from collections import Counter
from contextlib import suppress
from typing import Final

from linkspan_session.errors import (
    NotOwnerError,
    RecordTooNewError,
    StoreUnavailableError,
    TooManySessionsError,
)
from linkspan_session.store import redis_scripts as scripts
from linkspan_session.store.base import (
    MAX_FINISHED_STREAMS,
    Changes,
    Found,
    Ownership,
    SessionId,
    SessionRecord,
    StreamRecord,
)
from linkspan_session.store.nodes import NodeId
from linkspan_session.store.redis_keys import IndexEntry, session_keys
from linkspan_session.store.redis_link import (
    OutcomeUnknownError,
    RedisLink,
    new_token,
    together,
)
from linkspan_session.store.redis_nodes import RedisNodeRegistry
from linkspan_session.store.redis_records import (
    RECORD_VERSION,
    answered,
    fields_of,
    is_touch,
    lists_of,
    record_of,
    stream_of,
)
from linkspan_session.store.redis_session_index import SessionIndex

_GRACE_MILLIS: Final = 60_000
"""How long all of a session stays beyond its time, if nobody closes it."""

_KEEP_MILLIS: Final = 24 * 60 * 60 * 1000
"""How long the record stays beyond that, to tell an expired session from an unknown one."""

_MAX_IN_DOUBT: Final = 10_000
"""Of how many sessions it is remembered that commits were given up."""

_MAX_VOID: Final = 64
"""How many such commits of one session; the scripts keep as many."""

_AT_ONCE: Final = 100
"""How many sessions `expire` looks at together."""


class RedisSessionStore:
    """A `SessionStore` over a link."""

    def __init__(self, link: RedisLink, nodes: RedisNodeRegistry, *, max_log_bytes: int) -> None:
        """Make a store.

        Args:
            link: The way to the server.
            nodes: Who knows whether owners are alive.
            max_log_bytes: How much of a session's events is kept, in bytes of messages.
        """
        self._link = link
        self._nodes = nodes
        self._index = SessionIndex(link)
        self._max_log_bytes = max_log_bytes
        self._in_doubt: dict[SessionId, list[str]] = {}

    async def create(self, record: SessionRecord, *, max_of_principal: int) -> SessionRecord | None:
        """See `SessionStore.create`."""
        taken = await self._take_place(record, max_of_principal)
        if taken is None:
            there = await self._read(record.session_id)
            if there is None:
                raise TooManySessionsError
            return there
        await self._index.add(record)
        milliseconds = max(record.expires_millis - record.last_active_millis, 0)
        answer = await self._link.run(
            scripts.SESSION_CREATE,
            session_keys(record.session_id),
            RECORD_VERSION,
            new_token(),
            milliseconds + _GRACE_MILLIS + _KEEP_MILLIS,
            *fields_of(record),
        )
        try:
            word, rest = answered(answer)
        except RecordTooNewError:
            if taken:
                await self._index.give_back(record)
            raise
        if word == "ok":
            return None
        there = record_of(rest)
        await self._index.correct(record, there, taken=taken)
        return there

    async def get(self, session_id: SessionId) -> Found | None:
        """See `SessionStore.get`."""
        record = await self._read(session_id)
        if record is None:
            return None
        return Found(record, bool(await self._nodes.alive([record.owner])))

    async def claim(
        self, session_id: SessionId, node: NodeId, *, seen_epoch: int
    ) -> SessionRecord | None:
        """See `SessionStore.claim`."""
        answer = await self._link.run(
            scripts.SESSION_CLAIM,
            session_keys(session_id),
            RECORD_VERSION,
            new_token(),
            node,
            seen_epoch,
        )
        word, rest = answered(answer)
        if word != "ok":
            return None
        self._in_doubt.pop(session_id, None)  # the epoch voids them
        return record_of(rest)

    async def commit(self, ownership: Ownership, changes: Changes) -> int:
        """See `SessionStore.commit`.

        Raises:
            NotOwnerError: Also if an earlier commit, for which the store was unavailable, was done.
            ValueError: An event does not follow in its stream, or what is closed would stay for
                ever; nothing was changed.
        """
        session_id = ownership.session_id
        if changes.closed is not None and changes.expires_millis is None:
            raise ValueError("a session that is closed needs expires_millis")
        token = new_token()
        given_up = tuple(self._in_doubt.get(session_id, ()))
        try:
            answer = await self._link.run(
                scripts.SESSION_COMMIT,
                session_keys(session_id),
                RECORD_VERSION,
                token,
                ownership.owner,
                ownership.epoch,
                " ".join(given_up),
                self._max_log_bytes,
                MAX_FINISHED_STREAMS,
                _GRACE_MILLIS,
                _KEEP_MILLIS,
                changes.closed or "",
                int(changes.release),
                *lists_of(changes),
            )
        except OutcomeUnknownError:
            if not is_touch(changes):
                self._doubt(session_id, token)
            raise
        word, rest = answered(answer)
        if word == "astray":
            raise ValueError(f"event {int(rest[1])} does not follow in its stream")
        if given_up:
            self._resolve(session_id, given_up)
        if word != "ok":
            raise NotOwnerError
        if changes.closed is not None and changes.expires_millis is not None:
            with suppress(StoreUnavailableError):  # `expire` does it later
                await self._index.close(rest[1], changes.expires_millis)
        return int(rest[0])

    async def expire(
        self,
        now_millis: int,
        *,
        keep_until_millis: int,
        limit: int,
        expired: list[SessionId] | None = None,
    ) -> int:
        """See `SessionStore.expire`. Removes `limit` at most, too, and nothing that is too new."""
        done: Counter[str] = Counter()
        while (room := limit - max(done["closed"], done["gone"])) > 0:
            # All that was looked at is not due any more, but for what a newer version wrote.
            due = await self._index.due(now_millis, done["newer"], min(room, _AT_ONCE))
            words = await together(
                self._expire_one(entry, now_millis, keep_until_millis) for entry in due
            )
            done.update(words)
            if expired is not None:
                pairs = zip(due, words, strict=True)
                expired += [self._index.session_of(e) for e, word in pairs if word == "closed"]
            if not due:
                break
        return max(done["closed"], done["gone"])

    async def list_page(self, after: tuple[int, SessionId] | None, limit: int) -> list[Found]:
        """See `SessionStore.list_page`."""
        records: list[SessionRecord] = []
        while len(records) < limit:
            wanted = limit - len(records)
            entries = await self._index.page(after, wanted)
            found = await together(self._listed(each) for each in entries)
            records += [record for record in found if record is not None]
            if len(entries) < wanted:
                break
            after = entries[-1].created_millis, entries[-1].session_id
        alive = await self._nodes.alive({record.owner for record in records})
        return [Found(record, record.owner in alive) for record in records]

    async def stored_bytes(self, session_ids: tuple[SessionId, ...]) -> dict[SessionId, int]:
        """See `SessionStore.stored_bytes`."""
        sizes = await together(
            self._link.command("HMGET", session_keys(each)[0], "log_bytes", "storage_bytes")
            for each in session_ids
        )
        return {
            session_id: sum(int(size or 0) for size in pair)
            for session_id, pair in zip(session_ids, sizes, strict=True)
        }

    async def get_stream(self, session_id: SessionId, stream_id: str) -> StreamRecord | None:
        """See `SessionStore.get_stream`."""
        return await self._stream(session_id, "id", stream_id)

    async def find_stream(self, session_id: SessionId, request_key: str) -> StreamRecord | None:
        """See `SessionStore.find_stream`."""
        return await self._stream(session_id, "request", request_key)

    async def read_events(
        self, session_id: SessionId, stream_id: str, *, after: int
    ) -> list[tuple[int, bytes]]:
        """See `SessionStore.read_events`."""
        answer = await self._link.run(
            scripts.SESSION_EVENTS, session_keys(session_id), RECORD_VERSION, stream_id, after
        )
        word, rest = answered(answer)
        return list(enumerate(rest[1:], start=rest[0])) if word == "ok" else []

    async def read_storage(self, session_id: SessionId) -> dict[str, bytes]:
        """See `SessionStore.read_storage`."""
        answer = await self._link.run(
            scripts.SESSION_STORAGE, session_keys(session_id), RECORD_VERSION
        )
        _, rest = answered(answer)
        return {key.decode(): value for key, value in zip(rest[::2], rest[1::2], strict=True)}

    async def _read(self, session_id: SessionId) -> SessionRecord | None:
        answer = await self._link.run(scripts.SESSION_GET, session_keys(session_id), RECORD_VERSION)
        word, rest = answered(answer)
        return record_of(rest) if word == "ok" else None

    async def _listed(self, entry: IndexEntry) -> SessionRecord | None:
        try:
            record = await self._read(entry.session_id)
        except RecordTooNewError:
            return None
        if record is None or record.closed is not None:
            return None
        return record if record.created_millis == entry.created_millis else None

    async def _stream(self, session_id: SessionId, by: str, name: str) -> StreamRecord | None:
        answer = await self._link.run(
            scripts.SESSION_STREAM, session_keys(session_id), RECORD_VERSION, by, name
        )
        word, rest = answered(answer)
        return stream_of(session_id, *rest) if word == "ok" else None

    async def _take_place(self, record: SessionRecord, most: int) -> bool | None:
        """Take a place among the principal's sessions.

        Returns:
            False if the session had one, None if there is none free.
        """
        taken = await self._index.take_place(record, most)
        if taken is not None:
            return taken
        suspects = await self._index.suspects(record.principal)
        found = await together(self._lives(each) for each in suspects)
        over = [each for each, lives in zip(suspects, found, strict=True) if not lives]
        if not over:
            return None
        await self._index.free_places(record.principal, over)
        return await self._index.take_place(record, most)

    async def _lives(self, session_id: SessionId) -> bool:
        try:
            record = await self._read(session_id)
        except RecordTooNewError:
            return True
        return record is not None and record.closed is None

    async def _expire_one(self, entry: bytes, now_millis: int, keep_until_millis: int) -> str:
        answer = await self._link.run(
            scripts.SESSION_EXPIRE,
            session_keys(self._index.session_of(entry)),
            RECORD_VERSION,
            now_millis,
            keep_until_millis,
            _GRACE_MILLIS,
        )
        word: str = answer[0].decode()
        match word:
            case "gone":
                await self._index.remove(entry)
            case "later":
                await self._index.put_off(entry, int(answer[1]))
            case "closed":
                await self._index.close(entry, max(keep_until_millis, now_millis + 1))
            case _:
                pass
        return word

    def _doubt(self, session_id: SessionId, token: str) -> None:
        if len(self._in_doubt) >= _MAX_IN_DOUBT and session_id not in self._in_doubt:
            del self._in_doubt[next(iter(self._in_doubt))]
        tokens = self._in_doubt.setdefault(session_id, [])
        tokens.append(token)
        del tokens[:-_MAX_VOID]

    def _resolve(self, session_id: SessionId, given_up: tuple[str, ...]) -> None:
        tokens = [each for each in self._in_doubt.pop(session_id, ()) if each not in given_up]
        if tokens:
            self._in_doubt[session_id] = tokens
