"""How much is measured: the sizes of a whole run, and of a smoke run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

APP: Final = str(Path(__file__).parent / "hosted.py") + ":mcp"
"""What session servers host."""

CALLERS: Final = 32
"""How many clients there are at once where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Population:
    """A store with sessions that are all asleep.

    Attributes:
        store: Its address.
        ids: The sessions.
    """

    store: str
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a run.

    Attributes:
        work: A folder for data, gone after the run.
        rounds: How often each figure is taken.
        long_rounds: How often those are that take long to set up.
        seconds: How long one figure is taken for.
        idle_seconds: For how long it is watched what sessions cost that sleep.
        creations: How many sessions are made for one figure.
        sleeping: How many sessions sleep in SQLite; a tenth of them in Valkey.
        wakes: How many calls make one figure of latency.
        kills: How often a session server is killed, for each figure.
        settle_seconds: How long after a restart nothing happens, for connections to be made anew.
        sizes: How many sessions are on record where it is seen what their number costs.
        populations: The stores that one part leaves for others, by how many sessions are in them.
    """

    work: Path
    rounds: int = 5
    long_rounds: int = 3
    seconds: float = 2.0
    idle_seconds: float = 10.0
    creations: int = 600
    sleeping: int = 100_000
    wakes: int = 1000
    kills: int = 20
    settle_seconds: float = 0.5
    sizes: tuple[int, ...] = (100, 10_000, 100_000)
    populations: dict[int, Population] = field(default_factory=dict[int, Population])

    def folder(self, name: str) -> Path:
        """Make a folder for data."""
        folder = self.work / name
        folder.mkdir(parents=True)
        return folder

    def with_sessions(self, number: int) -> "Plan":
        """Return the same plan with another number of sessions that sleep."""
        sizes = (*(size for size in self.sizes if size < number), number)
        return replace(self, sleeping=number, sizes=tuple(dict.fromkeys(sizes)))


def quick_plan(work: Path) -> Plan:
    """Return the sizes of a smoke run: enough to see that all of it works."""
    return Plan(
        work,
        rounds=1,
        long_rounds=1,
        idle_seconds=1.0,
        seconds=0.3,
        creations=100,
        sleeping=1000,
        wakes=60,
        kills=2,
        settle_seconds=0.3,
        sizes=(100, 1000),
    )


def sqlite_in(folder: Path) -> str:
    """Return the address of a SQLite store in a folder."""
    return f"sqlite:///{folder}/sessions.db"


def interleaved(arms: Sequence[T], rounds: int) -> Iterator[T]:
    """Yield all arms once a round, forwards and backwards in turn."""
    for number in range(rounds):
        yield from arms if number % 2 == 0 else reversed(arms)
