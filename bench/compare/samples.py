"""What was measured, and what follows from it: medians, spreads, ratios, verdicts. Pure.

The order of a list of samples is that of the rounds, so samples of two arms at one place were taken
within seconds of each other: ratios are taken there, and their median is what counts.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from bench.figures import percentile

_CHANCE: Final = 1 / 50


@dataclass(frozen=True, slots=True)
class Sample:
    """What one arm did in one load, in one round.

    Attributes:
        per_second: How many things it got done in a second.
        p50: Half of them took no longer, in seconds.
        p99: 99 in 100 took no longer, in seconds.
        cpu: The CPU time of one, in seconds, summed over all serving processes.
        client_cpu: That of the load generator for one, in seconds.
        resident: What the serving processes had resident afterwards, in bytes.
        roles: The CPU time of one, by what the process is.
    """

    per_second: float
    p50: float
    p99: float
    cpu: float
    client_cpu: float
    resident: float
    roles: Mapping[str, float] = field(default_factory=dict[str, float])


Arms: TypeAlias = dict[str, list[Sample]]
"""The samples of each arm, by its label, in the order of the rounds."""

Loads: TypeAlias = dict[str, Arms]
"""The samples of each load, by its name."""

Found: TypeAlias = dict[str, Loads]
"""All samples, by the name of the bench."""

Pick: TypeAlias = Callable[[Sample], float]


def sample_of(
    latencies: Sequence[float],
    seconds: float,
    *,
    spent: Mapping[str, float],
    client_cpu: float,
    resident: float,
) -> Sample:
    """Make a sample.

    Args:
        latencies: How long each thing took, in seconds; not empty.
        seconds: How long all took together.
        spent: CPU seconds of the serving processes, by what they are.
        client_cpu: CPU seconds of the load generator.
        resident: Bytes.
    """
    done = len(latencies)
    return Sample(
        per_second=done / seconds,
        p50=percentile(latencies, 0.5),
        p99=percentile(latencies, 0.99),
        cpu=sum(spent.values()) / done,
        client_cpu=client_cpu / done,
        resident=resident,
        roles={role: each / done for role, each in spent.items()},
    )


def median_of(samples: Sequence[Sample], pick: Pick) -> float:
    """Return the median of one figure."""
    return statistics.median(map(pick, samples))


def ratios(above: Sequence[Sample], below: Sequence[Sample], pick: Pick) -> list[float]:
    """Return one figure of two arms as ratios, round by round.

    Raises:
        ValueError: One arm has more rounds than the other.
    """
    pairs = zip(above, below, strict=True)
    return [pick(one) / pick(other) for one, other in pairs]


def best(arms: Arms, pick: Pick, *, most: bool) -> str:
    """Return the arm whose median of a figure is the greatest (`most`), or the least."""
    choose = max if most else min
    return choose(arms, key=lambda label: median_of(arms[label], pick))


class Verdict(Enum):
    """What can be said of a ratio."""

    HOLDS = "holds"
    UNCLEAR = "unclear"
    WORSE = "worse"


def verdict(taken: Sequence[float], tolerance: float) -> Verdict:
    """Tell whether something got worse, from ratios of costs, new to old, greater than 1 if so.

    It is worse if the median is beyond the tolerance and chance is no likely reason: so few rounds
    say that nothing got worse as would, of two versions that cost the same, at most one time in
    fifty (the sign test). If only the median says so it is unclear, as it always is of fewer than
    six rounds.

    Args:
        taken: The ratios, one a round.
        tolerance: By what share a median may be worse.
    """
    if statistics.median(taken) <= 1 + tolerance:
        return Verdict.HOLDS
    unharmed = sum(each <= 1 for each in taken)
    return Verdict.WORSE if chance_of(unharmed, len(taken)) <= _CHANCE else Verdict.UNCLEAR


def chance_of(heads: int, throws: int) -> float:
    """Return how likely so many heads, or fewer, are in so many throws of a coin."""
    return sum(math.comb(throws, each) for each in range(heads + 1)) / (1 << throws)
