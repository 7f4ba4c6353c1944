"""Waiting for what no event announces, such as a line in a log that another process writes."""

import time
from collections.abc import Callable
from typing import Final

PATIENCE_SECONDS: Final = 30.0
"""How long a test waits for what must come. It is so long only where the test is about to fail."""

BUSY_SECONDS: Final = 10.0
"""What a machine that is slow, and does much else, may add to a time that is promised."""

_PAUSE_SECONDS: Final = 0.01


def wait_until(
    condition: Callable[[], bool], what: str, *, seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait until a condition holds; fails the test if it does not come to hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(_PAUSE_SECONDS)
