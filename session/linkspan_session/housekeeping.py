"""What a session server does by itself: idle sessions sleep, old ones expire, too many move away.

Above lies `server`; below lies `directory`. Nothing here fails a request: what cannot be done now is
done the next time.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from linkspan_session.auditing import audit
from linkspan_session.balance import excess
from linkspan_session.directory import SessionDirectory
from linkspan_session.errors import SessionError, SessionMovedError, StoreUnavailableError
from linkspan_session.lease import Lease
from linkspan_session.life import KEEP_CLOSED_MILLIS
from linkspan_session.live import LiveSession
from linkspan_session.session_spans import SLEEP, SWEEP, chore
from linkspan_session.store import NodeLoad, SessionId, SessionStore
from linkspan_session.tallies import tallies

logger = logging.getLogger(__name__)

_ROUND_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 30.0
_SWEEP_LIMIT: Final = 500
"""How many sessions one commit lets expire."""

_IDLE_TO_MOVE_SECONDS: Final = 1.0
"""How long a session must have been idle before it is moved for the sake of balance."""

_MOVED_A_ROUND: Final = 256

_ASLEEP: Final = "sessions.asleep"
_MOVED: Final = "sessions.moved"
_SWEPT: Final = "sessions.swept"


class Housekeeping:
    """The rounds of one session server."""

    def __init__(
        self,
        sessions: SessionDirectory,
        store: SessionStore,
        lease: Lease,
        *,
        sleep_after_seconds: float,
        ttl_seconds: float,
        now_millis: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Make the rounds of a directory.

        Args:
            sessions: What is in memory.
            store: Where sessions are on record.
            lease: This session server's lease, which knows what the others have.
            sleep_after_seconds: How long a session may be idle before it leaves memory.
            ttl_seconds: How long a session may be unused before it expires.
            now_millis: The wall clock, in milliseconds since the Unix epoch.
        """
        self._sessions = sessions
        self._store = store
        self._lease = lease
        self._sleep_after_seconds = min(sleep_after_seconds, ttl_seconds)
        self._round_seconds = min(_ROUND_SECONDS, self._sleep_after_seconds / 2)
        self._sweep_seconds = min(_SWEEP_SECONDS, ttl_seconds / 2)
        self._now_millis = now_millis
        self._weighed: tuple[NodeLoad, ...] = ()
        self._too_many = 0

    async def run(self) -> None:
        """Do rounds until cancelled."""
        clock = asyncio.get_running_loop().time
        swept_at = clock() - self._sweep_seconds
        while True:
            try:
                await self.tend()
                if clock() - swept_at >= self._sweep_seconds:
                    swept_at = clock()
                    await self.sweep()
            except Exception:  # it must not end the server
                logger.exception("a round failed; the next one tries again")
            await asyncio.sleep(self._round_seconds)

    async def tend(self) -> None:
        """Do one round of what is in memory."""
        now = asyncio.get_running_loop().time()
        if self._lease.peers is not self._weighed:  # what is known of the others is known anew
            self._weighed = self._lease.peers
            self._too_many = excess(self._lease.node, self._weighed)
        with chore(SLEEP) as done:
            now_millis = self._now_millis()
            for live in self._sessions.live():
                if not self._lease.store_answers:  # each would wait for it in turn
                    return
                if now_millis >= live.ends_millis and await self._sessions.expire(live):
                    done[_SWEPT] += 1
                else:
                    await self._tend_one(live, now - live.used_at, done)

    async def _tend_one(self, live: LiveSession, idle_seconds: float, done: Counter[str]) -> None:
        if not live.idle:
            with suppress(SessionMovedError):  # the directory has let go of it
                await self._sessions.touch(live)
        elif idle_seconds >= self._sleep_after_seconds:
            asleep = await self._sessions.sleep(live)
            self._too_many -= asleep
            done[_ASLEEP] += asleep
        elif (
            self._too_many > 0
            and done[_MOVED] < _MOVED_A_ROUND
            and idle_seconds >= _IDLE_TO_MOVE_SECONDS
            and await self._sessions.sleep(live, shed=True)
        ):
            done[_MOVED] += 1
            self._too_many -= 1

    async def sweep(self) -> None:
        """Let expire what is due, whoever has it."""
        try:
            with chore(SWEEP) as done:
                await self._sweep(done)
        except StoreUnavailableError:
            logger.debug("sessions expire later: the store does not answer")

    async def _sweep(self, done: Counter[str]) -> None:
        while True:
            now = self._now_millis()
            expired: list[SessionId] | None = None if audit.trail is None else []
            swept = await self._store.expire(
                now,
                keep_until_millis=now + KEEP_CLOSED_MILLIS,
                limit=_SWEEP_LIMIT,
                expired=expired,
            )
            for session_id in expired or ():
                await self._tell_expired(session_id)
            done[_SWEPT] += swept
            tallies.swept += swept
            if swept:
                logger.info("%d sessions expired, or were removed", swept)
            if swept < _SWEEP_LIMIT:
                return

    async def _tell_expired(self, session_id: SessionId) -> None:
        """Tell the audit trail of a session that expired; it is closed, and still on record."""
        found = None
        with suppress(SessionError):
            found = await self._store.get(session_id)
        audit.expired(session_id, None if found is None else found.record)
