"""Which store a `--store` address means, and the stores of one kind under one roof."""

from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from linkspan_process.errors import StartError
from linkspan_session.store.base import DEFAULT_MAX_LOG_BYTES, SessionStore
from linkspan_session.store.nodes import NodeRegistry
from linkspan_session.store.tasks import TaskStore

_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "valkey", "valkeys"})


class Store(Protocol):
    """All that session servers keep, in one place that they may share."""

    @property
    def sessions(self) -> SessionStore:
        """The sessions, their streams and their storage."""
        ...

    @property
    def tasks(self) -> TaskStore:
        """The tasks."""
        ...

    @property
    def nodes(self) -> NodeRegistry:
        """The session servers that are alive."""
        ...

    async def close(self) -> None:
        """Finish what is under way and release the store. Call once, last."""
        ...


async def open_store(url: str, *, max_log_bytes: int = DEFAULT_MAX_LOG_BYTES) -> Store:
    """Open the store at an address; one that is away for now is no error.

    Args:
        url: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`, `redis://host:port/0`,
            `rediss://…` for TLS, `redis+cluster://…` for a cluster; `valkey` may stand for `redis`.
        max_log_bytes: How much of each session's events is kept, in bytes of messages.

    Raises:
        StartError: There is no such kind of store, the address is malformed, the file cannot be
            opened, or a newer version of Linkspan made it.
    """
    scheme, separator, _ = url.partition("://")
    if scheme == "sqlite":
        from linkspan_session.store.sqlite import SqliteStore  # noqa: PLC0415 - one of two

        return await SqliteStore.open(sqlite_path(url), max_log_bytes=max_log_bytes)
    if scheme.partition("+")[0] in _REDIS_SCHEMES:
        from linkspan_session.store.redis import RedisStore  # noqa: PLC0415 - one of two

        return RedisStore.connect(url, max_log_bytes=max_log_bytes)
    # There may be a password behind the scheme.
    why = f"there is no store of the kind {scheme}://…" if separator else "it is no address"
    raise StartError(f"--store: {why}; use sqlite:///path/to/file.db or redis://host:6379/0")


def sqlite_path(url: str) -> Path:
    """Read the path out of a `sqlite:` address.

    Raises:
        StartError: There is none in it, or a host stands where the path should begin.
    """
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or not path:
        raise StartError(
            f"--store {url}: write sqlite:///relative/path.db or sqlite:////absolute/path.db"
        )
    return Path(path)
