"""What a request of a session has changed, kept with its answer or not at all.

Above lies `requests`, which starts requests; below lie `live`, `session_data` and the store. An
answer that says that something failed keeps nothing.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from linkspan_contract.envelope import Request
from linkspan_session.answers import Answer, Result
from linkspan_session.errors import SessionNotFoundError
from linkspan_session.kernel import handshake_of, scratch_of
from linkspan_session.live import LiveSession
from linkspan_session.storage.handler import HandlerStorage
from linkspan_session.store import Changes, Handshake, Preferences

_PREFERRING: Final = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
"""The methods that change what a client has asked of its session."""

_MAX_SUBSCRIPTIONS: Final = 1000
_MAX_URI_CHARS: Final = 2048


class Settled:
    """The settlement of a session's request; see `calls.Settlement`."""

    def __init__(self, live: LiveSession, request: Request, storage: HandlerStorage) -> None:
        self._live = live
        self._request = request
        self._storage = storage
        self._preferences: Preferences | None = None
        self._has_turn = False
        self._sure = True
        """Whether it is known what is on record."""

    async def changes(self, answer: Answer) -> Changes | None:
        """See `Settlement.changes`."""
        if not isinstance(answer, Result) or answer.value.get("isError") is True:
            if self._storage.failure is not None:  # the SDK says no more than that a tool failed
                raise self._storage.failure
            return None
        writes: Mapping[str, bytes | None] = {}
        if self._storage.seal():
            writes = await self._storage.pending()
        scratch = scratch_of(self._live.connection)
        preferences = None
        if self._may_change_preferences(scratch):
            preferences = await self._new_preferences(scratch)
        if not writes and preferences is None:
            return None
        self._sure = False
        return Changes(storage=writes, preferences=preferences)

    def committed(self) -> None:
        """See `Settlement.committed`."""
        self._sure = True
        self._storage.committed()
        if self._preferences is not None:
            self._live.record = replace(self._live.record, preferences=self._preferences)

    def over(self) -> None:
        """See `Settlement.over`."""
        self._storage.discard()
        if self._has_turn:
            self._live.preferences_turn.release()
        if not self._sure:  # the store may have done it and not come to say so
            self._live.data.forget()

    def _may_change_preferences(self, scratch: str) -> bool:
        before = self._live.record.preferences
        return self._request.method in _PREFERRING or scratch != before.scratch_json

    async def _new_preferences(self, scratch: str) -> Preferences | None:
        """Return the preferences as the request has left them; None if it has not changed them.

        Of two requests that change them at once, the second waits until the first is on record.
        """
        await self._live.preferences_turn.acquire()
        self._has_turn = True
        before = self._live.record.preferences
        after = replace(preferences_after(before, self._request), scratch_json=scratch)
        self._preferences = None if after == before else after
        return self._preferences


class SettledHandshake:
    """The settlement of `initialize`: a handshake on record, or no session."""

    def __init__(
        self,
        live: LiveSession,
        storage: HandlerStorage,
        expires_millis: int,
        end: Callable[[LiveSession], Awaitable[None]],
    ) -> None:
        """Make a settlement.

        Args:
            live: The session.
            storage: Nothing of it is kept: a handshake is not for writing.
            expires_millis: From when on the session counts as expired.
            end: Ends a session whose handshake failed.
        """
        self._live = live
        self._storage = storage
        self._expires_millis = expires_millis
        self._end = end
        self._handshake: Handshake | None = None

    async def changes(self, answer: Answer) -> Changes | None:
        """See `Settlement.changes`."""
        self._handshake = handshake_of(self._live.connection)
        if not isinstance(answer, Result) or self._handshake is None:
            if not self._live.ended:
                await self._end(self._live)
            return None
        if self._live.ended:
            raise SessionNotFoundError
        return Changes(handshake=self._handshake, expires_millis=self._expires_millis)

    def committed(self) -> None:
        """See `Settlement.committed`."""
        if self._handshake is not None and not self._live.ended:
            self._live.record = replace(
                self._live.record, handshake=self._handshake, expires_millis=self._expires_millis
            )

    def over(self) -> None:
        """See `Settlement.over`."""
        self._live.initializing = False
        self._storage.discard()


def preferences_after(preferences: Preferences, request: Request) -> Preferences:
    """Return a client's preferences after one of its requests has succeeded."""
    params = request.params or {}
    match request.method, params.get("level"), params.get("uri"):
        case "logging/setLevel", str(level), _:
            return replace(preferences, log_level=level)
        case "resources/subscribe", _, str(uri):
            others = tuple(each for each in preferences.subscriptions if each != uri)
            if len(others) >= _MAX_SUBSCRIPTIONS or len(uri) > _MAX_URI_CHARS:
                return preferences
            return replace(preferences, subscriptions=(*others, uri))
        case "resources/unsubscribe", _, str(uri):
            others = tuple(each for each in preferences.subscriptions if each != uri)
            return replace(preferences, subscriptions=others)
        case _:
            return preferences
