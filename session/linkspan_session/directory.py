"""The sessions of one session server: found in memory or on record, and ended on both.

Above lies `host`, which decides what a message does; below lie `live` (a session in memory) and
`store` (a session on record). Invariants: a session's principal is checked before anything else; at
most one `LiveSession` of an id is ever in use; a session that is being ended is found by nobody.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from linkspan_session.errors import SessionNotFoundError, StoreUnavailableError
from linkspan_session.kernel import HostedServer
from linkspan_session.live import LiveSession, StreamSettings
from linkspan_session.store import EventLog, Principal, SessionId, SessionStore

_TOUCH_EVERY_MILLIS: Final = 60_000
"""How stale `last_active_millis` may get on record, so that a request costs no commit."""


class SessionDirectory:
    """All sessions that this process has in memory, and the way to those on record."""

    def __init__(
        self,
        hosted: HostedServer,
        store: SessionStore,
        log: EventLog,
        tasks: asyncio.TaskGroup,
        streams: StreamSettings,
        now_millis: Callable[[], int],
    ) -> None:
        """Make an empty directory; the arguments are those of `SessionHost`."""
        self._hosted = hosted
        self._store = store
        self._log = log
        self._tasks = tasks
        self._streams = streams
        self._now_millis = now_millis
        self._live: dict[SessionId, LiveSession] = {}

    def live(self) -> list[LiveSession]:
        """Return the sessions that are in memory."""
        return list(self._live.values())

    def in_flight(self, session_id: SessionId) -> int:
        """Return how many requests of a session run here."""
        live = self._live.get(session_id)
        return 0 if live is None else len(live.calls)

    async def find(self, session_id: SessionId, principal: Principal) -> LiveSession:
        """Find a session of a principal, in memory or on record.

        Raises:
            SessionNotFoundError: There is none, or it is another principal's.
        """
        live = self._live.get(session_id)
        if live is None:
            record = await self._store.get(session_id)
            # While the store was asked, another call may have built the session, or ended it.
            live = self._live.get(session_id)
            if live is None:
                if record is None or record.principal != principal:
                    raise SessionNotFoundError
                live = LiveSession(
                    record, self._hosted, self._tasks, self._log, self._streams, self._now_millis
                )
                self._live[session_id] = live
        if live.record.principal == principal:
            await self._touch(live)
        if live.ended or live.record.principal != principal:
            raise SessionNotFoundError
        return live

    async def _touch(self, live: LiveSession) -> None:
        """Put on record that the session was used, as far as the store can be had."""
        now = self._now_millis()
        if now - live.record.last_active_millis < _TOUCH_EVERY_MILLIS:
            return
        live.record = dataclasses.replace(live.record, last_active_millis=now)
        with suppress(StoreUnavailableError):
            await self._store.touch(live.record.session_id, now)

    async def end(self, live: LiveSession) -> None:
        """End a session, to the end even if its caller goes away in between."""
        ending = self._tasks.create_task(self._end_whole(live))
        failure = await asyncio.shield(ending)
        if failure is not None:
            raise failure

    async def _end_whole(self, live: LiveSession) -> StoreUnavailableError | None:
        """End a session; it stays findable, as ended, until its record is gone.

        Returns:
            Why it was not ended, if it was not: what a task raises would end the whole server.
        """
        live.ended = True
        try:
            await self._store.delete(live.record.session_id)
        except StoreUnavailableError as error:
            live.ended = False
            return error
        live.end()
        self._live.pop(live.record.session_id, None)
        await self._hosted.disconnect(live.connection)
        return None
