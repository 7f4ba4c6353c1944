"""The sessions of one session server: found in memory or on record, woken, sent to sleep, ended.

Above lie `host`, which decides what a message does, and `housekeeping`, which lets go of what is
idle; below lie `live` (a session in memory), `life` and `ownership` (the decisions) and the store.
Invariants: a session's principal is checked before anything else; at most one `LiveSession` of an
id is ever in use; a session is in memory only while this server owns it, as far as it can know; a
session that is being ended is found by nobody.
"""

import asyncio
import dataclasses
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Final

from linkspan_session import life
from linkspan_session.auditing import audit
from linkspan_session.claiming import Claimant
from linkspan_session.doors import Doors
from linkspan_session.errors import (
    DrainingError,
    ForeignSessionError,
    OverloadedError,
    SessionElsewhereError,
    SessionEndedError,
    SessionError,
    SessionIdTakenError,
    SessionMovedError,
    SessionNotFoundError,
    SessionTooOldError,
    StoreUnavailableError,
)
from linkspan_session.kernel import HostedServer
from linkspan_session.lease import Lease
from linkspan_session.live import LiveSession, StreamSettings
from linkspan_session.probing import Probe
from linkspan_session.session_limits import SessionLimits
from linkspan_session.session_spans import is_match, restoring, tell_found
from linkspan_session.store import (
    Changes,
    Closed,
    Found,
    Principal,
    SessionId,
    SessionRecord,
    SessionStore,
)
from linkspan_session.tallies import tallies

logger = logging.getLogger(__name__)

_TOUCH_EVERY_MILLIS: Final = 60_000
"""How stale `last_active_millis` may get on record, so that a request costs no commit."""

_SCAN: Final = 1000
"""How many sessions to look at for one that can make room."""


class SessionDirectory:
    """All sessions that this process has in memory, and the way to those on record."""

    def __init__(
        self,
        hosted: HostedServer,
        store: SessionStore,
        lease: Lease,
        tasks: asyncio.TaskGroup,
        streams: StreamSettings,
        limits: SessionLimits,
        now_millis: Callable[[], int],
        restore: Callable[[LiveSession], Awaitable[None]],
        probe: Probe | None = None,
    ) -> None:
        """Make an empty directory.

        Args:
            hosted: The user's server, its lifespan entered.
            store: Where sessions are on record.
            lease: This session server's lease.
            tasks: Owns every handler's task.
            streams: How streams behave.
            limits: How long sessions live and how many there may be.
            now_millis: The wall clock, in milliseconds since the Unix epoch.
            restore: Tells the hosted server what the client of a session that wakes had asked for.
            probe: Looks whether another session server answers; None for one without TLS.
        """
        self._restore = restore
        self._hosted = hosted
        self._store = store
        self._lease = lease
        self._tasks = tasks
        self._streams = streams
        self._limits = limits
        self._touch_every_millis = min(_TOUCH_EVERY_MILLIS, limits.ttl_millis // 4)
        self._now_millis = now_millis
        self._claimant = Claimant(store, lease, now_millis, probe)
        self._live: OrderedDict[SessionId, LiveSession] = OrderedDict()
        self._doors = Doors()
        self._shed: dict[SessionId, None] = {}
        self._coming: set[SessionId] = set()
        self._draining = False
        lease.on_lapse = self._doubt_all

    def __len__(self) -> int:
        """How many sessions are in memory."""
        return len(self._live)

    def live(self) -> list[LiveSession]:
        """Return the sessions that are in memory, the least recently used first."""
        return list(self._live.values())

    def in_flight(self, session_id: SessionId) -> int:
        """Return how many requests of a session run here."""
        live = self._live.get(session_id)
        return 0 if live is None else len(live.calls)

    def is_owner(self, record: SessionRecord) -> bool:
        """Tell whether a session is this session server's, as it is on record."""
        return record.owner == self._lease.node

    def as_known_here(self, record: SessionRecord) -> SessionRecord:
        """Return a session's record, and when it was last used and ends as far as is known here."""
        ends_millis = self._limits.ends_millis(record.created_millis)
        if record.closed is None and ends_millis < record.expires_millis:
            record = dataclasses.replace(record, expires_millis=ends_millis)
        live = self._live.get(record.session_id)
        if live is None or live.record.epoch != record.epoch:
            return record
        last_active_millis = max(record.last_active_millis, live.used_millis)
        return dataclasses.replace(record, last_active_millis=last_active_millis)

    def drain(self) -> None:
        """From now on let go of sessions, and take none."""
        self._draining = True

    # --- found and made --------------------------------------------------------------------------

    async def create(
        self, session_id: SessionId, principal: Principal, unreachable_owner: str
    ) -> tuple[SessionRecord, bool]:
        """Create a session, or find the one there is; returns whether it was created.

        Raises:
            SessionIdTakenError: The id is another principal's.
            TooManySessionsError: The principal has as many as it may have.
            OverloadedError: There is no room in memory.
        """
        if self._draining:
            raise DrainingError
        await self._lease.ensure()
        async with self._behind_door(session_id):
            lapses = self._lease.lapses
            if session_id not in self._live:
                await self._make_room(session_id)
            now = self._now_millis()
            record = SessionRecord(
                session_id=session_id,
                principal=principal,
                handshake=None,
                created_millis=now,
                last_active_millis=now,
                expires_millis=min(
                    self._limits.expires_millis(now, now), now + life.MAX_CREATED_MILLIS
                ),
                owner=self._lease.node,
            )
            existing = await self._store.create(
                record, max_of_principal=self._limits.max_of_principal
            )
            if existing is None:
                live = self._build(record)
                live.doubtful = self._lease.lapses != lapses
                tallies.creations += 1
                return self._put(live).record, True
        if existing.principal != principal:
            raise SessionIdTakenError
        async with self.using(session_id, principal, unreachable_owner) as live:
            return live.record, False

    def using(
        self, session_id: SessionId, principal: Principal, unreachable_owner: str = ""
    ) -> AbstractAsyncContextManager[LiveSession]:
        """Find a session of a principal, and own it; it stays in memory within the block.

        Args:
            session_id: The session.
            principal: On whose behalf.
            unreachable_owner: The owner that the caller could not reach; empty if none.

        Raises:
            SessionNotFoundError: There is none, or it is another principal's.
            SessionEndedError: It was ended.
            SessionExpiredError: It expired, or its lifetime is over.
            SessionElsewhereError: Another session server owns it, or should.
            OwnerUnreachableError: Its owner is silent, and its lease did not end in time.
            OverloadedError: There is no room for it in memory.
            DrainingError: This server is about to stop, and has let go of it.
        """
        return _Use(partial(self._take_up, session_id, principal, unreachable_owner))

    async def _take_up(
        self, session_id: SessionId, principal: Principal, unreachable_owner: str
    ) -> LiveSession:
        """Find a session and count a user of it; raises what `using` raises."""
        if not self._lease.fresh:
            await self._lease.ensure()
        live = self._live.get(session_id)
        if live is None or live.doubtful or (self._draining and live.unused):
            async with restoring(session_id), self._behind_door(session_id):
                live = await self._find_behind_door(session_id, principal, unreachable_owner)
        if not tell_found(live.since_seconds, owner_match=live.record.principal == principal):
            raise ForeignSessionError
        now = self._now_millis()
        if now >= live.ends_millis:
            raise SessionTooOldError
        self._live.move_to_end(session_id)
        live.used_at = asyncio.get_running_loop().time()
        live.used_millis = now
        live.users += 1
        if live.ended or self._is_touch_due(live, now):
            try:
                await self._note_use(session_id, live)
            except BaseException:
                live.users -= 1
                raise
        return live

    async def _note_use(self, session_id: SessionId, live: LiveSession) -> None:
        """Put on record that a session is used; raises if by then it cannot be."""
        if not live.ended:
            with suppress(SessionMovedError):  # it is not in memory then
                await self.touch(live)
        if self._live.get(session_id) is not live:
            raise SessionElsewhereError("")  # or ended: whoever asks again is told
        if live.ended:
            raise SessionEndedError

    async def _find_behind_door(
        self, session_id: SessionId, principal: Principal, unreachable_owner: str
    ) -> LiveSession:
        live = self._live.get(session_id)
        if live is not None:
            if not is_match(owner_match=live.record.principal == principal):
                raise ForeignSessionError
            if self._draining and live.unused and await self._leave_alone(live):
                live.hand_over_listening(DrainingError())
                raise DrainingError
            if not live.doubtful:
                return live  # whoever came first has found it
        lapses = self._lease.lapses
        found = await self._store.get(session_id)
        if found is None:
            raise SessionNotFoundError
        if not is_match(owner_match=found.record.principal == principal):
            raise ForeignSessionError
        ends = self._limits.ends_millis(found.record.created_millis)
        if found.record.closed is not Closed.ENDED and self._now_millis() >= ends:
            raise SessionTooOldError  # whoever has it; it need not wake for that
        if live is not None and self._live.get(session_id) is live:
            if found.record.owner == live.record.owner and found.record.epoch == live.record.epoch:
                live.doubtful = self._lease.lapses != lapses
                return live
            self._lose(live)
        record = await self._claimant.own(found, unreachable_owner, self._check_may_claim)
        live = self._build(record)
        try:
            await self._restore(live)
        except BaseException:  # half a session is none: whoever comes next claims it anew
            await asyncio.shield(self._tasks.create_task(self._give_back(live)))
            raise
        if live.ended:  # lost already: what the server said meanwhile could not be written
            raise SessionElsewhereError("")
        live.doubtful = self._lease.lapses != lapses
        return self._put(live)

    async def _check_may_claim(self, found: Found) -> None:
        """Refuse to take a session that should go elsewhere, or that there is no room for."""
        session_id = found.record.session_id
        if found.record.owner != self._lease.node:  # else nobody else would take it
            if self._draining:
                raise DrainingError
            if session_id in self._shed:
                del self._shed[session_id]
                if len(self._lease.peers) > 1:
                    raise SessionElsewhereError("")
        await self._make_room(session_id)

    def _build(self, record: SessionRecord) -> LiveSession:
        """Build a session that nobody finds yet."""
        return LiveSession(
            record,
            self._store,
            self._hosted,
            self._tasks,
            self._streams,
            self._now_millis,
            max_storage_bytes=self._limits.max_storage_bytes,
            ends_millis=self._limits.ends_millis(record.created_millis),
            on_lost=self._lose,
        )

    def _put(self, live: LiveSession) -> LiveSession:
        """Let a session be found."""
        live.used_at = asyncio.get_running_loop().time()
        self._live[live.record.session_id] = live
        self._coming.discard(live.record.session_id)
        return live

    # --- used and left alone ---------------------------------------------------------------------

    async def touch(self, live: LiveSession) -> None:
        """Put on record that a session was used, as far as the store can be had."""
        now = self._now_millis()
        if not self._is_touch_due(live, now):
            return
        expires = self._limits.expires_millis(live.record.created_millis, now)
        live.record = dataclasses.replace(
            live.record, last_active_millis=now, expires_millis=expires
        )
        with suppress(StoreUnavailableError):
            await live.journal.commit(Changes(last_active_millis=now, expires_millis=expires))

    def _is_touch_due(self, live: LiveSession, now_millis: int) -> bool:
        """Tell whether what is on record about the use of a session is too old."""
        if live.record.handshake is None:
            return False
        # The clock may have been set back: then what is on record is of no use, either.
        return not 0 <= now_millis - live.record.last_active_millis < self._touch_every_millis

    async def sleep(self, live: LiveSession, *, shed: bool = False) -> bool:
        """Send a session to sleep if it is idle.

        Args:
            live: The session.
            shed: Whether another session server should wake it.

        Returns:
            Whether it has left memory.
        """
        session_id = live.record.session_id
        async with self._behind_door(session_id):
            if not live.idle or self._live.get(session_id) is not live:
                return False
            if not await self._leave_alone(live):
                return False
        if shed:
            self._shed[session_id] = None
            while len(self._shed) > self._limits.max_live:
                self._shed.pop(next(iter(self._shed)))
        return True

    async def _leave_alone(self, live: LiveSession) -> bool:
        """Give a session back to the store; the caller holds its door."""
        live.doubtful = True  # nobody uses it without its door now, nor unseen if this fails
        try:
            await live.journal.commit(Changes(release=True))
        except StoreUnavailableError:
            return False
        except SessionMovedError:
            return True  # `_lose` has let go of it
        self._live.pop(live.record.session_id, None)
        tallies.sleeps += 1
        self._tasks.create_task(self._hosted.disconnect(live.connection))
        return True

    async def _give_back(self, live: LiveSession) -> None:
        """Let go of a session that nobody has found here."""
        try:
            await live.journal.commit(Changes(release=True))
        except SessionMovedError:
            return  # `_lose` has let go of it
        except SessionError:
            logger.debug("a session that did not wake keeps its owner: the store does not answer")
        await self._hosted.disconnect(live.connection)

    async def _make_room(self, coming: SessionId) -> None:
        """Send the least recently used idle sessions to sleep while there are too many.

        Args:
            coming: The session that needs the room; it is kept until its door is left.
        """
        scanned = 0
        while len(self._live) + len(self._coming - {coming}) >= self._limits.max_live:
            scanned += 1
            if scanned > _SCAN or not self._live:
                raise OverloadedError
            session_id, oldest = next(iter(self._live.items()))
            # To wait for a door while holding one may be to wait for oneself.
            if session_id in self._doors or not await self.sleep(oldest):
                with suppress(KeyError):
                    self._live.move_to_end(session_id)
        self._coming.add(coming)

    async def leave(self) -> None:
        """Close what is left in memory as the server stops; the end of its lease gives it back."""
        for live in self.live():
            await self._hosted.disconnect(live.connection)

    # --- ended and lost --------------------------------------------------------------------------

    async def end(self, live: LiveSession) -> None:
        """End a session, to the end even if its caller goes away in between."""
        ending = self._tasks.create_task(self._end_whole(live, Closed.ENDED))
        failure = await asyncio.shield(ending)
        if failure is not None:
            raise failure

    async def expire(self, live: LiveSession) -> bool:
        """Close a session whose lifetime is over, unless something runs in it; tells whether it is.

        Who listens runs nothing, and is cut off.
        """
        if self._now_millis() < live.ends_millis or not live.unused or live.ended:
            return False
        ending = self._tasks.create_task(self._end_whole(live, Closed.EXPIRED))
        return await asyncio.shield(ending) is None

    async def _end_whole(self, live: LiveSession, how: Closed) -> SessionError | None:
        """End a session; it stays findable, as ended, until that is on record.

        Returns:
            Why it was not ended, if it was not: what a task raises would end the whole server.
        """
        live.ended = True
        known = live.record.handshake is not None  # else its client has never heard of it
        keep_until = self._now_millis() + (
            life.KEEP_CLOSED_MILLIS if known else life.MAX_CREATED_MILLIS
        )
        try:
            await live.journal.commit(Changes(closed=how, expires_millis=keep_until))
        except SessionMovedError as error:
            return error
        except SessionError as error:
            live.ended = False
            return error
        live.end()
        _tell_end(live.record, how)
        if self._live.get(live.record.session_id) is live:
            del self._live[live.record.session_id]
        await self._hosted.disconnect(live.connection)
        return None

    def _lose(self, live: LiveSession) -> None:
        """Let go of a session that another session server owns."""
        if self._live.get(live.record.session_id) is live:
            del self._live[live.record.session_id]
        tallies.losses += 1
        logger.warning("another session server has taken a session over; letting go of it")
        live.lose()
        self._tasks.create_task(self._hosted.disconnect(live.connection))

    @asynccontextmanager
    async def _behind_door(self, session_id: SessionId) -> AsyncGenerator[None]:
        """Be the only one that brings a session into memory or out of it."""
        async with self._doors.through(session_id):
            try:
                yield
            finally:
                self._coming.discard(session_id)

    def _doubt_all(self) -> None:
        for live in self._live.values():
            live.doubtful = True


def _tell_end(record: SessionRecord, how: Closed) -> None:
    """Count a session that this server has closed, and tell the audit trail."""
    if how is Closed.ENDED:
        tallies.end(record)
    else:
        tallies.swept += 1
    if audit.trail is None:
        return
    if how is Closed.ENDED:
        audit.ended(record)
    else:
        audit.expired(record.session_id, record)


class _Use(AbstractAsyncContextManager[LiveSession]):
    """The block in which a session is used; a class, since a generator costs every request more."""

    __slots__ = ("_live", "_take_up")

    def __init__(self, take_up: Callable[[], Awaitable[LiveSession]]) -> None:
        self._take_up = take_up

    async def __aenter__(self) -> LiveSession:
        self._live = await self._take_up()
        return self._live

    async def __aexit__(self, *_: object) -> None:
        self._live.users -= 1
