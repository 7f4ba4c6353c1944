"""Who may have a session in memory: what a session server does when it is asked for one.

Pure. Whatever is decided here on stale knowledge does no harm: a claim counts only if nobody was
faster, and the commits of whoever owned the session before are refused from then on.

| its owner is | and | so |
|---|---|---|
| nobody, or without a lease | | claim it |
| this server, but not in memory | | claim it anew |
| another one that is alive | the caller has not tried it | send the caller there |
| another one that is alive | the caller could not reach it | look whether it answers |
| … that refuses connections | | claim it: its process is gone, its lease is not yet |
| … that is silent | | wait for the end of its lease |
| … that answers | | send the caller there once more |
"""

from enum import Enum, auto

from linkspan_session.store import NOBODY, Found, NodeId


class Move(Enum):
    """What to do about a session that is not in memory here."""

    CLAIM = auto()
    REDIRECT = auto()
    PROBE = auto()
    WAIT = auto()


class Probed(Enum):
    """What became of an attempt to talk to an owner."""

    ANSWERS = "answers"
    REFUSES = "refuses"
    """Nobody listens at its address."""
    SILENT = "is silent"
    """It does not answer in time, or cannot be reached: it may be alive."""


_AFTER_PROBE = {
    Probed.ANSWERS: Move.REDIRECT,
    Probed.REFUSES: Move.CLAIM,
    Probed.SILENT: Move.WAIT,
}


def decide(
    found: Found, me: NodeId, *, unreachable_owner: str, probed: Probed | None = None
) -> Move:
    """Decide about a session that is open and not in memory here.

    Args:
        found: Its record, and whether its owner is alive.
        me: This session server.
        unreachable_owner: The owner that the caller could not reach; empty if it has not tried.
        probed: What this server has seen of that owner; None if it has not looked.
    """
    owner = found.record.owner
    if owner in (NOBODY, me) or not found.owner_alive:
        return Move.CLAIM
    if owner != unreachable_owner:
        return Move.REDIRECT
    return Move.PROBE if probed is None else _AFTER_PROBE[probed]
