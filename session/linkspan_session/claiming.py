"""Becoming the owner of a session that is on record and not in memory here.

Above lies `directory`; below lie `ownership`, which decides, and the store, which lets one of
several win.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from linkspan_contract.session_digest import session_digest
from linkspan_session import life
from linkspan_session.errors import (
    OwnerUnreachableError,
    SessionElsewhereError,
    SessionNotFoundError,
)
from linkspan_session.lease import Lease
from linkspan_session.life import Event, state_of
from linkspan_session.ownership import Move, Probed, decide
from linkspan_session.probing import Probe, probe
from linkspan_session.session_spans import tell_claimed, tell_step
from linkspan_session.store import Found, SessionId, SessionRecord, SessionStore
from linkspan_session.tallies import tallies

logger = logging.getLogger(__name__)

_MAX_CLAIMS: Final = 10
"""How often a claim is tried because somebody else was faster."""

_POLL_SECONDS: Final = 0.25
"""How often to look whether a silent owner's lease has ended."""


class Claimant:
    """This session server, as it claims sessions."""

    def __init__(
        self,
        store: SessionStore,
        lease: Lease,
        now_millis: Callable[[], int],
        look: Probe | None = None,
    ) -> None:
        """Make a claimant.

        Args:
            store: Where sessions are on record.
            lease: This session server's lease.
            now_millis: The wall clock, in milliseconds since the Unix epoch.
            look: Looks whether another session server answers; None for one without TLS.
        """
        self._look_at = look
        self._store = store
        self._lease = lease
        self._now_millis = now_millis

    async def own(
        self,
        found: Found,
        unreachable_owner: str,
        check_may_claim: Callable[[Found], Awaitable[None]],
    ) -> SessionRecord:
        """Become the owner of a session; returns its record as it is then.

        Args:
            found: The session, as it was found.
            unreachable_owner: The owner that the caller could not reach; empty if none.
            check_may_claim: Called before each claim; what it raises ends the attempt.

        Raises:
            SessionElsewhereError: Another session server owns it.
            OwnerUnreachableError: Its owner is silent, and its lease did not end in time.
            SessionNotFoundError: It went away.
            SessionError: It was closed.
        """
        life.step(state_of(found, self._now_millis()), Event.USED)
        wait_until = asyncio.get_running_loop().time() + self._lease.seconds + 1
        probed: Probed | None = None
        for _ in range(_MAX_CLAIMS):
            owner = found.record.owner
            match decide(
                found, self._lease.node, unreachable_owner=unreachable_owner, probed=probed
            ):
                case Move.REDIRECT:
                    raise SessionElsewhereError(owner)
                case Move.PROBE:
                    probed = await (self._look_at or probe)(owner)
                    logger.info("a worker could not reach %s; it %s", owner, probed.value)
                    tell_step("owner.probed", outcome=probed.value)
                    if probed is Probed.REFUSES:
                        await self._lease.take_from(owner)
                case Move.WAIT:
                    tell_step("lease.awaited")
                    found = await self._wait_for_lease(found, wait_until)
                case Move.CLAIM:
                    await check_may_claim(found)
                    claimed = await self._claim(found.record)
                    if claimed is not None:
                        return claimed
                    found = await self._look(found.record.session_id)
        raise OwnerUnreachableError

    async def _claim(self, seen: SessionRecord) -> SessionRecord | None:
        claimed = await self._store.claim(seen.session_id, self._lease.node, seen_epoch=seen.epoch)
        if claimed is not None:
            tell_claimed(taken_over=bool(seen.owner), epoch=claimed.epoch)
            tallies.claim(seen)
        if claimed is not None and seen.owner:
            logger.info(
                "took session %s over from %s; epoch %d",
                session_digest(seen.session_id),
                seen.owner,
                claimed.epoch,
            )
        return claimed

    async def _wait_for_lease(self, found: Found, until: float) -> Found:
        """Wait until an owner's lease has ended, or the session has another owner."""
        owner = found.record.owner
        while found.owner_alive and found.record.owner == owner:
            if asyncio.get_running_loop().time() >= until:
                raise OwnerUnreachableError
            await asyncio.sleep(_POLL_SECONDS)
            found = await self._look(found.record.session_id)
        return found

    async def _look(self, session_id: SessionId) -> Found:
        found = await self._store.get(session_id)
        if found is None:
            raise SessionNotFoundError
        life.step(state_of(found, self._now_millis()), Event.USED)
        return found
