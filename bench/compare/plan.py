"""How much is measured: the sizes of a whole run, and of a quick one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

TOOLS: Final = 50
"""How many tools a server has, where lists are asked for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a run.

    Attributes:
        work: A folder for data, gone after the run.
        rounds: How often each figure is taken.
        long_rounds: How often those are that take long to set up.
        seconds: How long one figure is taken for.
        warm_seconds: For how long the same is done before it, uncounted.
        streams: How many listening streams are open at once.
        broadcasts: How often all of them are told something, in each round.
        live: How many sessions are live where it is seen what memory they take.
    """

    work: Path
    rounds: int = 5
    long_rounds: int = 3
    seconds: float = 1.5
    warm_seconds: float = 0.3
    streams: int = 1000
    broadcasts: int = 5
    live: int = 10_000

    def folder(self, name: str) -> Path:
        """Make a folder for data."""
        for number in range(1, 1000):
            path = self.work / f"{name}-{number}"
            if not path.exists():
                path.mkdir(parents=True)
                return path
        raise AssertionError("too many folders")

    def for_regression(self) -> "Plan":
        """Return a plan of more and shorter rounds."""
        return replace(self, rounds=12 if self.rounds > 1 else 6, seconds=min(self.seconds, 0.8))


def quick_plan(work: Path) -> Plan:
    """Return the sizes of a quick run: enough to see that all of it works, and roughly where it is."""
    return Plan(
        work,
        rounds=1,
        long_rounds=1,
        seconds=0.4,
        warm_seconds=0.1,
        streams=100,
        broadcasts=2,
        live=500,
    )


def interleaved(arms: Sequence[T], rounds: int) -> Iterator[list[T]]:
    """Yield all arms once a round, forwards and backwards in turn."""
    for number in range(rounds):
        yield list(arms) if number % 2 == 0 else list(reversed(arms))
