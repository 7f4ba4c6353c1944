"""How the use of a session's storage fails.

    StorageError
    ├── NoSessionStorageError     there is no session, or no Linkspan
    ├── StorageClosedError        the handler is over, or the transaction
    ├── NestedTransactionError    a transaction within a transaction
    └── StorageLimitError         a key, a value, or all of it together is too large

All but the last are mistakes of the server's author, and RuntimeErrors; the last is a ValueError.
A value that is neither JSON nor bytes is a TypeError or ValueError, as with `json.dumps`. What the
store refuses (`linkspan_session.errors`) is none of these, and best left to the client.
"""


class StorageError(Exception):
    """What was asked of the storage cannot be done; nothing was changed."""


class NoSessionStorageError(StorageError, RuntimeError):
    """Nothing is kept for this call: it has no session, or Linkspan does not serve it."""


class StorageClosedError(StorageError, RuntimeError):
    """The handler that the storage was lent to is over, or the transaction is."""


class NestedTransactionError(StorageError, RuntimeError):
    """A transaction was begun within a transaction."""

    def __init__(self) -> None:
        super().__init__("a transaction is open here already; do the work in that one")


class StorageLimitError(StorageError, ValueError):
    """A key, a value, or all that a session stores is larger than it may be."""
