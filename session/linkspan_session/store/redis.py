"""All stores in one Redis or Valkey, or a cluster of them, that session servers share.

Below lie the stores (`redis_sessions`, `redis_tasks`, `redis_nodes`), the names of keys
(`redis_keys`), the scripts (`redis_scripts`, `lua/`), and the way to the server (`redis_link`).

The server decides how much survives its own death: with `appendonly yes` and `appendfsync always`
all that was acknowledged, with `everysec` all but the last second or so of a machine that loses
power. A replica that takes over may lack the last commits, and with them the last change of an
owner. It must not evict keys (`maxmemory-policy noeviction`). It needs Redis 6.2, or Valkey.
"""

from linkspan_session.store.redis_address import parse_address
from linkspan_session.store.redis_link import RedisLink
from linkspan_session.store.redis_nodes import RedisNodeRegistry
from linkspan_session.store.redis_sessions import RedisSessionStore
from linkspan_session.store.redis_tasks import RedisTaskStore


class RedisStore:
    """A `Store` in Redis. Make it with `connect`."""

    def __init__(self, link: RedisLink, *, max_log_bytes: int) -> None:
        """Make a store.

        Args:
            link: The way to the server.
            max_log_bytes: How much of each session's events is kept, in bytes of messages.
        """
        self._link = link
        self._nodes = RedisNodeRegistry(link)
        self._sessions = RedisSessionStore(link, self._nodes, max_log_bytes=max_log_bytes)
        self._tasks = RedisTaskStore(link)

    @classmethod
    def connect(cls, url: str, *, max_log_bytes: int) -> "RedisStore":
        """Make a store at an address; it connects when it is first used.

        Args:
            url: As `redis_address.parse_address` reads it.
            max_log_bytes: How much of each session's events is kept, in bytes of messages.

        Raises:
            StartError: The address is malformed.
        """
        return cls(RedisLink.to(parse_address(url)), max_log_bytes=max_log_bytes)

    @property
    def sessions(self) -> RedisSessionStore:
        """The sessions, their streams and their storage."""
        return self._sessions

    @property
    def tasks(self) -> RedisTaskStore:
        """The tasks."""
        return self._tasks

    @property
    def nodes(self) -> RedisNodeRegistry:
        """The session servers that are alive."""
        return self._nodes

    async def close(self) -> None:
        """Finish what is under way and disconnect. Call once, last."""
        await self._link.close()
