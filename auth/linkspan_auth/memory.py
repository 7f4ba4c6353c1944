"""Who was verified a moment ago, by the digest of the credential.

What is remembered is at most `max_seconds` old and never past the token's own end, and there are
never more than `max_entries`: the oldest goes first. Tokens themselves are not kept.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Final

from linkspan_auth.model import Identity

MAX_REMEMBERED: Final = 10_000
"""How many tokens are remembered: about 10 MB."""


def digest_of(credential: str) -> bytes:
    """Name a credential, a header's value, without saying it: SHA-256 of its bytes."""
    return hashlib.sha256(credential.encode("latin-1", "replace")).digest()


class TokenMemory:
    """Remembers who was verified."""

    def __init__(
        self,
        *,
        max_seconds: float,
        max_entries: int = MAX_REMEMBERED,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an empty memory.

        Args:
            max_seconds: How long a token is remembered at most.
            max_entries: How many there may be.
            now: The wall clock, in seconds since the Unix epoch: tokens expire by it.
            monotonic: A clock that does not jump.
        """
        self._max_seconds = max_seconds
        self._max_entries = max_entries
        self._now = now
        self._monotonic = monotonic
        self._entries: dict[bytes, tuple[float, Identity]] = {}

    def __len__(self) -> int:
        """How many tokens are held."""
        return len(self._entries)

    def get(self, digest: bytes) -> Identity | None:
        """Return who that was; None if it is not remembered, or no longer."""
        entry = self._entries.get(digest)
        if entry is None:
            return None
        until, identity = entry
        expires_at = identity.expires_at
        if self._monotonic() < until and (expires_at is None or self._now() < expires_at):
            return identity
        del self._entries[digest]
        return None

    def put(self, digest: bytes, identity: Identity) -> None:
        """Remember who that is."""
        self._entries.pop(digest, None)
        while len(self._entries) >= self._max_entries:
            del self._entries[next(iter(self._entries))]
        self._entries[digest] = (self._monotonic() + self._max_seconds, identity)
