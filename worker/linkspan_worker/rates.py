"""How often each caller may come: token buckets, nothing but decisions.

Pure: told the time. Above lies `callers`. A bucket is one number, the time at which it will be full
again (the generic cell rate algorithm, ITU-T I.371, annex A), and a full bucket is as good as none:
it is forgotten. So memory is bounded by who came within the last `burst / per_second` seconds, and by
`MAX_BUCKETS` whoever comes.
"""

import math
from dataclasses import dataclass
from typing import Final

MAX_BUCKETS: Final = 100_000
"""How many buckets are kept; over that, the one that was used least recently counts as full."""

MAX_DEBT_SECONDS: Final = 600.0
"""How long at most who owes tokens waits for the next one, unless one alone takes longer to come."""

_FORGOTTEN_AT_ONCE: Final = 2
"""How many old buckets are looked at for each request: more than one, so that they become fewer."""

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_MOST: Final = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something may happen.

    Attributes:
        per_second: How often on the whole; more than 0.
        burst: How often at once, after a pause; at least 1.
    """

    per_second: float
    burst: int


def filled_after_debt(filled: float, tokens: int, now: float, rate: Rate) -> float:
    """Return when a bucket will be full again after tokens were taken that need not be there.

    The debt is bounded: without a bound, a few batches would lock a caller out for hours.

    Args:
        filled: When it would be full without that; not before `now`.
        tokens: How many are taken.
        now: The time, in seconds.
        rate: What fills it.
    """
    interval = 1 / rate.per_second
    one_left = now + (rate.burst - 1) * interval
    return min(filled + tokens * interval, one_left + max(MAX_DEBT_SECONDS, interval))


class TokenBuckets:
    """A bucket for each caller."""

    __slots__ = ("_filled", "_rate")

    def __init__(self, rate: Rate) -> None:
        """Begin with full buckets.

        Args:
            rate: How often each caller may come.
        """
        self._rate: Final = rate
        self._filled: dict[str, float] = {}
        """When each bucket will be full again, in the order of their last use."""

    def __len__(self) -> int:
        """How many buckets are not known to be full."""
        return len(self._filled)

    def take(self, caller: str, now: float) -> float:
        """Take a token, if there is a whole one.

        Args:
            caller: Whose bucket.
            now: The time, of a clock that never goes back, in seconds.

        Returns:
            0 if there was one; else how long until there is, in seconds, and none was taken.
        """
        interval = 1 / self._rate.per_second
        filled = max(self._filled.pop(caller, now), now)
        # A bucket lacks (filled - now) / interval tokens of `burst`.
        wait = filled - now - (self._rate.burst - 1) * interval
        # A hair, because instants are sums of rounded numbers.
        taken = wait <= interval * 1e-6
        self._filled[caller] = filled + interval if taken else filled
        self._forget(now)
        return 0.0 if taken else wait

    def owe(self, caller: str, tokens: int, now: float) -> None:
        """Take tokens that need not be there: who comes next waits until they are made up for.

        See `filled_after_debt` for the longest that is.
        """
        filled = max(self._filled.pop(caller, now), now)
        self._filled[caller] = filled_after_debt(filled, tokens, now, self._rate)

    def _forget(self, now: float) -> None:
        for _ in range(_FORGOTTEN_AT_ONCE):
            oldest = next(iter(self._filled))
            if self._filled[oldest] > now and len(self._filled) <= MAX_BUCKETS:
                return
            del self._filled[oldest]
            if not self._filled:
                return


def parse_rate(text: str) -> float | None:
    """Take how often something may happen, such as `50/s`, `100/m` or `1000/h`; nothing is no limit.

    Returns:
        How often in a second.

    Raises:
        ValueError: It is something else.
    """
    if not text:
        return None
    number, _, unit = text.partition("/")
    try:
        per_second = float(number) / _UNITS[unit.strip()]
    except (KeyError, ValueError):
        per_second = -1.0
    if not (math.isfinite(per_second) and 1 / 3600 <= per_second <= _MOST):
        raise ValueError(f"must be how often, such as 50/s, 100/m or 1000/h, not {text!r}")
    return per_second
