"""Durations and points in time of traces, as people read them. Pure."""

from datetime import datetime
from typing import Final

_UNITS: Final = ((3.6e12, "h"), (6e10, "min"), (1e9, "s"), (1e6, "ms"), (1e3, "µs"))
_NANOS: Final = 1_000_000_000


def took(nanos: float) -> str:
    """Write a duration with three digits or so, such as `1.25 ms`; the page writes it alike."""
    if nanos == 0:
        return "0"
    for size, unit in _UNITS:
        value = nanos / size
        if value >= 0.9995:  # noqa: PLR2004 - what is written as 1.00
            digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2  # noqa: PLR2004 - likewise
            return f"{value:.{digits}f} {unit}"
    return f"{round(nanos)} ns"


def clock(nanos: str | int) -> str:
    """Write nanoseconds since the Unix epoch as a local time, to the millisecond."""
    seconds, rest = divmod(int(nanos), _NANOS)
    at = datetime.fromtimestamp(seconds).astimezone()
    return f"{at:%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03d}"
