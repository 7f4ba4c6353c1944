"""This session server's lease: what tells the others that its sessions are taken.

Above lie `directory`, which asks whether the lease is fresh before it serves a session from memory,
and `server`, which keeps the lease running and learns from it whether the store answers. A process
that was stopped finds its lease stale when it goes on: others may own its sessions by then, so each
is looked up anew before it is served again.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from linkspan_session.errors import StoreUnavailableError
from linkspan_session.store import NodeId, NodeLoad, NodeRegistry, address_of

logger = logging.getLogger(__name__)

_RENEWALS_A_LEASE: Final = 3
_RETRY_SECONDS: Final = 0.5
"""How long to wait after the store has not answered."""


class Lease:
    """The lease of one session server."""

    def __init__(
        self,
        nodes: NodeRegistry,
        node: NodeId,
        *,
        seconds: float,
        live_sessions: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a lease that is not held yet.

        Args:
            nodes: Where leases are on record.
            node: This session server.
            seconds: How long a lease lasts; it is renewed at a third of that.
            live_sessions: Says how many sessions are in memory here.
            clock: A clock that goes on while the process is stopped, in seconds.
        """
        self.node: Final = node
        self.seconds: Final = seconds
        self.peers: tuple[NodeLoad, ...] = ()
        """All session servers that are alive, as of the last renewal."""
        self.lapses = 0
        """How often the lease has run out and is held again."""
        self.on_lapse: Callable[[], None] = lambda: None
        """Called when the lease has run out and is held again."""
        self.on_renewed: Callable[[], None] = lambda: None
        """Called after each renewal."""
        self.on_store: Callable[[bool], None] = lambda _: None
        """Called with whether the store answers, when that changes, and after the first time."""
        self._nodes = nodes
        self._live_sessions = live_sessions
        self._clock = clock
        self._fresh_until: float | None = None
        self._store_answers: bool | None = None
        self._failures = 0
        self._renewing = asyncio.Lock()

    @property
    def store_answers(self) -> bool:
        """Whether the store answered when it was last asked for the lease."""
        return self._store_answers is True

    @property
    def fresh(self) -> bool:
        """Whether nobody can have taken over from this server."""
        return self._fresh_until is not None and self._clock() < self._fresh_until

    async def ensure(self) -> None:
        """Hold the lease, if it is not fresh.

        Raises:
            StoreUnavailableError: It cannot be held.
        """
        if self.fresh:
            return
        failures = self._failures
        async with self._renewing:
            if self.fresh:
                return
            if self._failures != failures:  # else each that waits would try in turn, and in vain
                raise StoreUnavailableError
            await self._renew()

    async def keep(self) -> None:
        """Renew the lease until cancelled."""
        while True:
            pause = self.seconds / _RENEWALS_A_LEASE
            try:
                async with self._renewing:
                    await self._renew()
            except StoreUnavailableError:
                pause = min(pause, _RETRY_SECONDS)
            except Exception:  # it must not end the server
                logger.exception("the lease cannot be renewed; trying on")
                pause = min(pause, _RETRY_SECONDS)
            await asyncio.sleep(pause)

    async def take_from(self, node: NodeId) -> None:
        """Take a server's lease away, which is gone as far as can be seen.

        If it is not, it finds out at its next renewal, and looks up each of its sessions anew.

        Raises:
            StoreUnavailableError: Nobody can tell.
        """
        await self._nodes.leave(node)

    async def leave(self) -> None:
        """Give the lease up, as far as the store can be had."""
        self._fresh_until = None
        try:
            await self._nodes.leave(self.node)
        except StoreUnavailableError:
            logger.warning("the lease of this session server runs out by itself")

    async def _renew(self) -> None:
        asked_at = self._clock()
        taken_away = False
        try:
            if self._fresh_until is not None:
                taken_away = not await self._nodes.is_alive(self.node)
            self.peers = await self._nodes.hold(
                self.node, lease_seconds=self.seconds, live_sessions=self._live_sessions()
            )
        except StoreUnavailableError:
            self._failures += 1
            self._see_store(answers=False)
            raise
        if self._fresh_until is None:
            await self._bury_predecessors()
        # The store may have heard of it as late as now, and the lease was over from then until now.
        lapsed = taken_away or (
            self._fresh_until is not None and self._clock() >= self._fresh_until
        )
        self._fresh_until = asked_at + self.seconds
        if lapsed:
            self.lapses += 1
            logger.warning("the lease had run out: others may have taken sessions over")
            self.on_lapse()
        self._see_store(answers=True)
        self.on_renewed()

    async def _bury_predecessors(self) -> None:
        """End the leases of former runs at this address: this process has their port."""
        address = address_of(self.node)
        for peer in self.peers:
            if peer.node != self.node and address_of(peer.node) == address:
                await self._nodes.leave(peer.node)

    def _see_store(self, *, answers: bool) -> None:
        if answers == self._store_answers:
            return
        if not answers:
            logger.warning("the store does not answer; trying on")
        elif self._store_answers is not None:
            logger.info("the store answers again")
        self._store_answers = answers
        self.on_store(answers)
