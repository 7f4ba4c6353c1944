"""How long sessions live and how many there may be.

Pure. Above lie `directory` and `host`. A session has two ends: it expires when it was not used for
its ttl, and when its lifetime is over, however much it is used.
"""

from dataclasses import dataclass
from typing import Final

UNLIMITED_MILLIS: Final = 1 << 53
"""The lifetime of a session that has no bound, in milliseconds: longer than any clock goes."""

_CLOSING_MILLIS: Final = 60_000
"""What clocks may differ by, and the last commit of a session may take, in milliseconds."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long sessions live and how many there may be.

    Attributes:
        ttl_millis: How long a session may be unused before it expires, in milliseconds.
        lifetime_millis: How long it may be used at all before it expires, in milliseconds.
        request_millis: The longest that a request may take, in milliseconds.
        max_of_principal: How many sessions one principal may have on record.
        max_live: How many sessions may be in memory.
        max_storage_bytes: How much the storage of one session may hold, in bytes.
    """

    ttl_millis: int = 24 * 3600 * 1000
    lifetime_millis: int = UNLIMITED_MILLIS
    request_millis: int = 300 * 1000
    max_of_principal: int = 1_000_000
    max_live: int = 10_000
    max_storage_bytes: int = 4 * 1024 * 1024

    def ends_millis(self, created_millis: int) -> int:
        """Return from when on nobody may use a session.

        Args:
            created_millis: When it was created, in milliseconds since the Unix epoch.
        """
        return created_millis + self.lifetime_millis

    def expires_millis(self, created_millis: int, now_millis: int) -> int:
        """Return from when on a session that is used now is closed as expired, whoever has it.

        Where its lifetime is what ends it, that is later than `ends_millis`: what began before may
        end, and needs the record until then.

        Args:
            created_millis: When it was created, in milliseconds since the Unix epoch.
            now_millis: The time, in the same way.
        """
        closing = self.ends_millis(created_millis) + self.request_millis + _CLOSING_MILLIS
        return min(now_millis + self.ttl_millis, closing)
