"""How a fuzzer explores: the same inputs every time in a test, new ones for a while on demand.

Without `FUZZ_SECONDS`, `explore` tries as many inputs as it is told to, always the same ones. With it,
it tries new ones for so many seconds. How many it tried stands in the summary of the run.
"""

import os
import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")

SECONDS: Final = float(os.environ.get("FUZZ_SECONDS", "0"))
_AT_ONCE: Final = 200
_NO_CHECKS: Final = (
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.large_base_example,
    HealthCheck.filter_too_much,
)


def explore(inputs: SearchStrategy[T], check: Callable[[T], int], *, examples: int) -> int:
    """Check inputs; returns how many were tried.

    Args:
        inputs: How they are made.
        check: Tries one, or several at once; returns how many.
        examples: How many to make where it is not said how long to go on.
    """
    tried = 0

    def check_one(made: T) -> None:
        nonlocal tried
        tried += check(made)

    def run(count: int, *, always_the_same: bool) -> None:
        chosen = settings(
            max_examples=count,
            derandomize=always_the_same,
            database=None,
            deadline=None,
            phases=(Phase.generate,),  # to shrink what a server was sent takes too many tries
            suppress_health_check=_NO_CHECKS,
            verbosity=Verbosity.quiet,
        )
        test = given(inputs)(check_one)
        if not always_the_same:
            test = seed(random.getrandbits(64))(test)
        chosen(test)()

    if not SECONDS:
        run(examples, always_the_same=True)
        return tried
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        run(_AT_ONCE, always_the_same=False)
    return tried
