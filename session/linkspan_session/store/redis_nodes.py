"""Leases of session servers in Redis, by the server's own clock."""

from collections.abc import Iterable

from linkspan_session.store.nodes import NodeId, NodeLoad
from linkspan_session.store.redis_keys import NODE_LEASES, NODE_LOADS
from linkspan_session.store.redis_link import RedisLink
from linkspan_session.store.redis_scripts import NODES_ALIVE, NODES_HOLD, NODES_LEAVE


class RedisNodeRegistry:
    """A `NodeRegistry` in Redis.

    All leases are in one sorted set, not in keys that expire, so that all who are alive are read in
    one step. There are as many as there are servers, and each renews every few seconds.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def hold(
        self, node: NodeId, *, lease_seconds: float, live_sessions: int
    ) -> tuple[NodeLoad, ...]:
        """See `NodeRegistry.hold`. Removes what leases are over."""
        _, *answer = await self._link.run(
            NODES_HOLD, [NODE_LEASES, NODE_LOADS], node, round(lease_seconds * 1000), live_sessions
        )
        pairs = zip(answer[::2], answer[1::2], strict=True)
        return tuple(NodeLoad(NodeId(name.decode()), int(load)) for name, load in pairs)

    async def is_alive(self, node: NodeId) -> bool:
        """See `NodeRegistry.is_alive`."""
        return node in await self.alive([node])

    async def alive(self, nodes: Iterable[NodeId]) -> set[NodeId]:
        """Return those of the nodes that hold a lease; raises `StoreUnavailableError`."""
        asked = [node for node in nodes if node]
        if not asked:
            return set()
        _, *answer = await self._link.run(NODES_ALIVE, [NODE_LEASES], *asked)
        return {node for node, held in zip(asked, answer, strict=True) if held == b"1"}

    async def leave(self, node: NodeId) -> None:
        """See `NodeRegistry.leave`."""
        await self._link.run(NODES_LEAVE, [NODE_LEASES, NODE_LOADS], node)
