"""Waiting for what no event announces, such as a line in a log that another process writes."""

import time
from collections.abc import Callable
from typing import Final

_PAUSE_SECONDS: Final = 0.01


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 15.0) -> None:
    """Wait until a condition holds; fails the test if it does not come to hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(_PAUSE_SECONDS)
