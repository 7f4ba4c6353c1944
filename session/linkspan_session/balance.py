"""How many sessions a session server should let go of, so that others get their share.

Pure. Placement by hash spreads sessions evenly; what a restart or a failure has moved stays where it
was taken over until it sleeps. A server that has far more than its share sends its idle sessions
to sleep early; whoever is asked for them next wakes them.
"""

from typing import Final

from linkspan_session.store import NodeId, NodeLoad

_TOLERANCE: Final = 1.25
"""How many times its share a server may have."""

_FEW: Final = 16
"""How many sessions more than that are not worth moving."""


def excess(me: NodeId, nodes: tuple[NodeLoad, ...]) -> int:
    """Return how many sessions a server has too many.

    Args:
        me: The server.
        nodes: All servers that are alive, with how many sessions each has in memory.
    """
    mine = next((each.live_sessions for each in nodes if each.node == me), 0)
    share = sum(each.live_sessions for each in nodes) / max(1, len(nodes))
    if mine <= share * _TOLERANCE + _FEW:
        return 0
    return mine - round(share)
