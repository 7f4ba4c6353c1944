"""Which session server owns which session, as far as redirects told, and the ways to them.

Above lies `sends`; below lies `placement`, whose routes it is handed a factory for. What is known
here is a shortcut: a session server that does not own a session says so, and nothing is lost.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from linkspan_worker.placement import Route

MAX_SESSIONS: Final = 10_000
"""Of how many sessions the owner is remembered."""

REMEMBERED_SECONDS: Final = 30.0
"""How long an owner is remembered that is not asked."""

MAX_ROUTES: Final = 256
"""How many ways to owners are kept open, unless more are in use."""

IDLE_SECONDS: Final = 60.0
"""How long a way to an owner stays open that is not used."""


RETIRED_SECONDS: Final = 5.0
"""How long after it was retired a way is closed at the soonest."""


class OwnerCache:
    """The owners of the sessions that were used last. Pure: told what time it is."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        capacity: int = MAX_SESSIONS,
        idle_seconds: float = REMEMBERED_SECONDS,
    ) -> None:
        """Make a cache.

        Args:
            clock: Tells the time in seconds; never goes back.
            capacity: How many sessions fit in; the one that was not used for longest makes room.
            idle_seconds: How long a session stays that is not used.
        """
        self._clock = clock
        self._capacity = capacity
        self._idle_seconds = idle_seconds
        self._owners: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def get(self, session_id: str) -> str:
        """Return a session's owner, or an empty string; counts as use."""
        found = self._owners.get(session_id)
        if found is None:
            return ""
        owner, used_at = found
        now = self._clock()
        if now - used_at > self._idle_seconds:
            del self._owners[session_id]
            return ""
        self._owners[session_id] = (owner, now)
        self._owners.move_to_end(session_id)
        return owner

    def put(self, session_id: str, owner: str) -> None:
        """Remember a session's owner."""
        self._owners[session_id] = (owner, self._clock())
        self._owners.move_to_end(session_id)
        if len(self._owners) > self._capacity:
            self._owners.popitem(last=False)

    def forget(self, session_id: str) -> None:
        """Forget a session's owner; nobody's is no error."""
        self._owners.pop(session_id, None)

    def __len__(self) -> int:
        return len(self._owners)


class OwnerRoutes:
    """The ways to owners, opened when they are needed and closed some time after."""

    def __init__(
        self,
        open_route: Callable[[str], Route],
        *,
        capacity: int = MAX_ROUTES,
        idle_seconds: float = IDLE_SECONDS,
        retired_seconds: float = RETIRED_SECONDS,
    ) -> None:
        """Make the pool; use it within one event loop.

        Args:
            open_route: Opens the way to an address.
            capacity: How many stay open at most, unless more are in use.
            idle_seconds: How long one stays open that is not used.
            retired_seconds: How long one stays open at least that was retired.
        """
        self._retired_seconds = retired_seconds
        self._open_route = open_route
        self._capacity = capacity
        self._idle_seconds = idle_seconds
        self._routes: OrderedDict[str, Route] = OrderedDict()
        self._retired: list[Route] = []
        self._closing: set[asyncio.Future[None]] = set()
        self._sweep_handle: asyncio.TimerHandle | None = None

    def route_to(self, owner: str) -> Route:
        """Return the way to an owner, as redirects name it: its address, `#`, which run of it."""
        return self.route_at(owner.rpartition("#")[0])

    def route_at(self, address: str) -> Route:
        """Return the way to the server at an address."""
        route = self._routes.get(address)
        if route is None:
            route = self._routes[address] = self._open_route(address)
            self._make_room()
            if self._sweep_handle is None:
                self._sweep_later(self._idle_seconds)
        else:
            self._routes.move_to_end(address)
        route.used_at = time.monotonic()
        return route

    def retire(self, *others: Route) -> None:
        """Open all ways anew when they are needed next; the old ones are closed when they are idle.

        Args:
            others: Ways of other kinds to close with them.
        """
        self._retired += [*self._routes.values(), *others]
        self._routes.clear()
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
        # Not at once: whoever was just given one is about to call.
        self._sweep_later(self._retired_seconds)

    async def close(self) -> None:
        """Close all of them, and end their calls."""
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
        for address in list(self._routes):
            self._close(self._routes.pop(address))
        for route in self._retired:
            self._close(route)
        if self._closing:
            await asyncio.wait(self._closing)

    def __len__(self) -> int:
        return len(self._routes)

    def _make_room(self) -> None:
        newest = next(reversed(self._routes))
        for address, route in list(self._routes.items()):
            if len(self._routes) <= self._capacity:
                return
            if address != newest and not route.users:
                self._close(self._routes.pop(address))

    def _sweep_later(self, seconds: float) -> None:
        self._sweep_handle = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweep_handle = None
        idle_since = time.monotonic() - self._idle_seconds
        for address, route in list(self._routes.items()):
            if not route.users and route.used_at <= idle_since:
                self._close(self._routes.pop(address))
        for route in self._retired[:]:
            if not route.users:
                self._retired.remove(route)
                self._close(route)
        if (
            self._routes or self._retired
        ):  # twice within the time, so that none stays for much longer
            self._sweep_later(self._idle_seconds / 2)

    def _close(self, route: Route) -> None:
        closing = asyncio.ensure_future(route.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
