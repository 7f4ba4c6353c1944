"""Which session servers are alive: leases that they renew, measured by the store's own clock.

A lease is a duration, never a date: who asks whether a server is alive is told by the store, so
that clocks that disagree, or jump, take nothing away from anybody.
"""

from dataclasses import dataclass
from typing import NewType, Protocol

NodeId = NewType("NodeId", str)
"""One run of one session server: the address it is reached at, `#`, and what no other run has; then, if
operators have an address of their own, `@` and that."""


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """A session server that is alive.

    Attributes:
        node: Which one.
        live_sessions: How many sessions it has in memory.
    """

    node: NodeId
    live_sessions: int


class NodeRegistry(Protocol):
    """Keeps leases. Every method may raise `StoreUnavailableError`, and then has changed nothing."""

    async def hold(
        self, node: NodeId, *, lease_seconds: float, live_sessions: int
    ) -> tuple[NodeLoad, ...]:
        """Say that a server is alive for as long as `lease_seconds` from now.

        Returns:
            All servers that are alive, this one included, in no order.
        """
        ...

    async def is_alive(self, node: NodeId) -> bool:
        """Tell whether a server holds a lease."""
        ...

    async def leave(self, node: NodeId) -> None:
        """Give a lease up; one that nobody holds is no error."""
        ...


def address_of(node: NodeId) -> str:
    """Return the address that a session server is reached at."""
    return node.rpartition("#")[0]


def operated_at(node: NodeId) -> str:
    """Return the address that operators call a session server at: behind `@`, if that differs."""
    return node.rpartition("#")[2].partition("@")[2] or address_of(node)
