"""What a handler sees of its session's storage: `session_storage()`.

Above lies the user's server; below lies `handler`, which the host lends to each call.
"""

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from linkspan_session.hosting_context import hosting_context
from linkspan_session.storage.errors import NoSessionStorageError


class SessionStorage(Protocol):
    """A session's keys and values, as one handler sees them: its own writes over what is on record.

    A key is a string of 1 to 512 bytes of UTF-8. A value is JSON or bytes, at most 1 MiB; all keys
    and values of a session together have at most 4 MiB, unless the host says otherwise.

    What a handler writes is committed with its answer, all of it or nothing, and before the answer
    leaves. If the answer is an error, or the handler is stopped, nothing of it is. What is written
    in a transaction is committed at the end of that block, whatever becomes of the handler.

    For `async def` handlers, on the event loop that they run on. Every method raises
    `StorageClosedError` once the handler is over, and may raise `StoreUnavailableError`
    (`linkspan_session.errors`), which is best left to the client; the next use tries anew.
    """

    async def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or `default` if there is none. The value is a copy."""
        ...

    async def put(self, key: str, value: Any) -> None:
        """Set a value.

        Args:
            key: Its key.
            value: None, a bool, number, string, list, tuple (it is read as a list) or dict with
                strings as keys, nested up to 100 deep; or bytes, which are read as bytes.

        Raises:
            TypeError: The key is no string, or the value is, or holds, something else.
            ValueError: The value holds NaN, an infinity, or half of a surrogate pair.
            StorageLimitError: The key, the value, or all of the session's storage is too large.
        """
        ...

    async def delete(self, key: str) -> bool:
        """Delete a key; returns whether it was there."""
        ...

    async def list(self, prefix: str = "") -> dict[str, Any]:
        """Return all values whose keys begin with `prefix`, ordered by key."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """Begin a block that no transaction of another handler of the session runs beside.

        Transactions wait for each other in order. What is written in the block is committed at its
        end, all of it or nothing: an exception in the block, a cancellation, or a commit that fails
        discards the block's writes and nothing else. What was written before the block stays what
        it was: committed with the answer, unless the block wrote the same key.

        A commit that has begun is ended, even if the handler is cancelled meanwhile.

        Raises:
            NestedTransactionError: It is within a transaction of the same handler.
            StorageLimitError: At the end of the block: others have taken the room meanwhile.
        """
        ...

    async def exclusive(self) -> None:
        """Keep out the transactions of all other handlers until this handler's answer is on record.

        Waits for those that are under way. From then on, whatever this handler reads and writes is
        as if it were alone, as long as the others write in transactions, too, or are exclusive. The
        longer the handler takes, the longer the others wait: take care with what asks the client.
        """
        ...


def session_storage() -> SessionStorage:
    """Return the storage of the session that the current call belongs to.

    Raises:
        NoSessionStorageError: The call has no session, as in MCP 2026-07-28; or it is no request
            that Linkspan serves.
    """
    context = hosting_context()
    if context is None:
        raise NoSessionStorageError(
            "session_storage() works while Linkspan serves a request (`linkspan run`), in its handler"
        )
    if context.storage is None:
        raise NoSessionStorageError(
            "this call has no session, so nothing is kept for it: clients of MCP 2026-07-28 have "
            "none; give them a handle to send with the next call"
        )
    return context.storage
