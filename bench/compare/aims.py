"""What Linkspan is to reach, each as one figure out of what was measured. Pure.

Ratios are taken round by round, between samples that were taken within seconds of each other. *Best
peer* is the one whose median is best in that load, whichever way it answers.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from bench.compare.arms import SDK
from bench.compare.benches import CALL_1, CALL_32, INITIALIZE, MEMORY_AFTER, MEMORY_BEFORE
from bench.compare.boundary import BARE, ECHO_32, INTERCEPTED, TUNNEL
from bench.compare.deployments import LINKSPAN
from bench.compare.samples import Arms, Found, Pick, best, ratios
from bench.figures import Section, number, spread

OURS: Final = f"{LINKSPAN}, JSON"
OURS_SSE: Final = f"{LINKSPAN}, SSE"
SDK_JSON: Final = f"{SDK}, JSON"
SDK_SSE: Final = f"{SDK}, SSE"

MEMORY_SESSIONS: Final = 10_000
"""For how many live sessions memory is to be told."""


Take: TypeAlias = Callable[[Found, int], tuple[list[float], str]]
"""Takes a figure, one for each round, and says against whom; given how many sessions were live."""


@dataclass(frozen=True, slots=True)
class Aim:
    """One thing to reach.

    Attributes:
        what: What is measured.
        bound: What it is to be.
        at_least: Whether more is better; else less is.
        bench: The bench that it needs.
        take: Takes the figure.
    """

    what: str
    bound: float
    at_least: bool
    bench: str
    take: Take

    def met(self, taken: Sequence[float]) -> bool:
        """Tell whether the median is as it is to be."""
        middle = statistics.median(taken)
        return middle >= self.bound if self.at_least else middle <= self.bound


def peers_in(arms: Arms) -> Arms:
    """Return the arms that are not Linkspan."""
    return {label: each for label, each in arms.items() if not label.startswith(LINKSPAN)}


def _against_best(bench: str, load: str, pick: Pick, *, most: bool) -> Take:
    def take(found: Found, _live: int) -> tuple[list[float], str]:
        arms = found[bench][load]
        peer = best(peers_in(arms), pick, most=most)
        return ratios(arms[OURS], arms[peer], pick), peer

    return take


def _against(bench: str, load: str, pick: Pick, one: str, other: str) -> Take:
    def take(found: Found, _live: int) -> tuple[list[float], str]:
        arms = found[bench][load]
        return ratios(arms[one], arms[other], pick), other

    return take


def _memory(found: Found, live: int) -> tuple[list[float], str]:
    before, after = found["memory"][MEMORY_BEFORE][OURS], found["memory"][MEMORY_AFTER][OURS]
    grown = [
        (one.resident - other.resident) / live * MEMORY_SESSIONS / 1e6
        for one, other in zip(after, before, strict=True)
    ]
    return grown, "itself, empty"


AIMS: Final = (
    Aim(
        "tools/call, JSON, 32 clients: requests a second ÷ best peer's",
        2.5,
        at_least=True,
        bench="calls",
        take=_against_best("calls", CALL_32, lambda each: each.per_second, most=True),
    ),
    Aim(
        "tools/call, JSON, 32 clients: CPU a request ÷ MCP SDK's",
        0.7,
        at_least=False,
        bench="calls",
        take=_against("calls", CALL_32, lambda each: each.cpu, OURS, SDK_JSON),
    ),
    Aim(
        "tools/call, SSE, 32 clients: requests a second ÷ MCP SDK's",
        5,
        at_least=True,
        bench="calls",
        take=_against("calls", CALL_32, lambda each: each.per_second, OURS_SSE, SDK_SSE),
    ),
    Aim(
        "tools/call, 32 clients: CPU a request, SSE ÷ JSON",
        4 / 3,
        at_least=False,
        bench="calls",
        take=_against("calls", CALL_32, lambda each: each.cpu, OURS_SSE, OURS),
    ),
    Aim(
        "tools/call, JSON, 32 clients: p99 ÷ best peer's",
        0.25,
        at_least=False,
        bench="calls",
        take=_against_best("calls", CALL_32, lambda each: each.p99, most=False),
    ),
    Aim(
        "tools/call, JSON, 1 client: p50 ÷ MCP SDK's",
        1.3,
        at_least=False,
        bench="calls",
        take=_against("calls", CALL_1, lambda each: each.p50, OURS, SDK_JSON),
    ),
    Aim(
        "tools/call, JSON, 32 clients: requests a second, tracing on ÷ off",
        0.9,
        at_least=True,
        bench="tracing",
        take=_against(
            "tracing",
            CALL_32,
            lambda each: each.per_second,
            "tracing 100 %, JSON",
            "tracing off, JSON",
        ),
    ),
    Aim(
        "sessions made a second, each on record ÷ best peer's, in memory",
        4,
        at_least=True,
        bench="creation",
        take=_against_best("creation", INITIALIZE, lambda each: each.per_second, most=True),
    ),
    Aim(
        f"memory of {MEMORY_SESSIONS:,} live sessions, MB above the empty server",
        100,
        at_least=False,
        bench="memory",
        take=_memory,
    ),
    Aim(
        "echo between two processes, 32 at once: calls a second, tunnel ÷ gRPC",
        5,
        at_least=True,
        bench="tunnel",
        take=_against("tunnel", ECHO_32, lambda each: each.per_second, TUNNEL, BARE),
    ),
    Aim(
        "the same in one process: CPU a call, propagation interceptors ÷ gRPC",
        1.05,
        at_least=False,
        bench="propagation",
        take=_against("propagation", ECHO_32, lambda each: each.cpu, INTERCEPTED, BARE),
    ),
)


def judged(found: Found, live: int) -> Section:
    """Write the table of aims, as far as what they need was measured.

    Args:
        found: All samples.
        live: How many sessions were live where their memory was measured; of few, what one takes
            cannot be told from what code takes that runs for the first time.
    """
    section = Section(
        "The aims",
        "Each is the median over all rounds, with the least and the greatest of the rounds. "
        "Linkspan has one worker and one session server, sends every span to a collector, and has "
        "its sessions in SQLite; a peer has its sessions in memory and no tracing.",
        ("", "is", "aim", "met", "against"),
    )
    for aim in AIMS:
        if aim.bench in found and (aim.take is not _memory or live >= MEMORY_SESSIONS):
            taken, whom = aim.take(found, live)
            sign = "≥" if aim.at_least else "≤"
            met = "yes" if aim.met(taken) else "**no**"
            bound = number(aim.bound)
            section.rows.append((aim.what, spread(taken, number), f"{sign} {bound}", met, whom))
    return section
