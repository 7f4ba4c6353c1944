"""Storage for tools: what a session keeps for the handlers of the user's server.

    from linkspan_session.storage import session_storage

See `docs/storage.md`. From the user's server downwards: `context` (what a handler sees), `handler`
(what one handler has written), `data` (what the session has, in memory and on record), `values`
(keys, values and their limits, pure). Nothing here knows the MCP SDK, gRPC or a store: the host
gives the way to the store, and commits what a handler wrote together with its answer.
"""

from linkspan_session.storage.context import SessionStorage, session_storage
from linkspan_session.storage.errors import (
    NestedTransactionError,
    NoSessionStorageError,
    StorageClosedError,
    StorageError,
    StorageLimitError,
)

__all__ = [
    "NestedTransactionError",
    "NoSessionStorageError",
    "SessionStorage",
    "StorageClosedError",
    "StorageError",
    "StorageLimitError",
    "session_storage",
]
