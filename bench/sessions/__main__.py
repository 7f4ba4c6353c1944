"""The command: runs the benches that are asked for, prints what came of them, and writes the page."""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import uvloop

from bench.figures import Section, filled
from bench.sessions import creation, durability, growth, sleeping, takeover
from bench.sessions.machine import facts
from bench.sessions.plan import Plan, quick_plan

_PAGE: Final = Path(__file__).parents[2] / "docs" / "bench-sessions.md"

_FEWEST_SESSIONS: Final = 1000
_BUSY: Final = 0.5
"""From which load average on the machine has other things to do."""

_TITLE: Final = "# What durable sessions cost"

_HEAD: Final = """\
`make bench-sessions` takes these figures and writes this page. Each is the median over {rounds}
rounds ({long_rounds} where many sessions have to be there first), between which the things that are
compared take turns, with the least and the greatest in brackets. Every answer was checked; one that
is wrong ends the run. All processes have their default settings, unless it says otherwise."""


async def _creation(plan: Plan) -> list[Section]:
    return [await creation.measure(plan)]


async def _takeover(plan: Plan) -> list[Section]:
    return [await takeover.measure(plan)]


async def _durability(plan: Plan) -> list[Section]:
    return [await durability.measure(plan)]


async def _growth(plan: Plan) -> list[Section]:
    return [await growth.measure(plan)]


_BENCHES: Final[dict[str, Callable[[Plan], Awaitable[list[Section]]]]] = {
    "creation": _creation,
    "sleeping": sleeping.measure,
    "takeover": _takeover,
    "durability": _durability,
    "growth": _growth,
}
"""In the order of the page; `growth` takes over what `sleeping` leaves."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = _parser().parse_args(arguments)
    names = options.only or list(_BENCHES)
    with (
        tempfile.TemporaryDirectory(prefix="bench-sessions-") as work,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        plan = quick_plan(Path(work)) if options.quick else Plan(Path(work))
        if options.sessions is not None:
            plan = plan.with_sessions(options.sessions)
        page = runner.run(_run(plan, names))
    output = options.output
    if output is None and not (options.quick or options.only or options.sessions):
        output = _PAGE
    if output is not None:
        output.write_text(page)


async def _run(plan: Plan, names: Sequence[str]) -> str:
    """Run benches and print what each finds; returns the page."""
    head = "\n\n".join(
        [
            _TITLE,
            filled(_HEAD.format(rounds=plan.rounds, long_rounds=plan.long_rounds)),
            filled(facts(plan.work)),
        ]
    )
    print(head, flush=True)
    if os.getloadavg()[0] > _BUSY:
        print("(the machine is busy: these figures are noise)", file=sys.stderr, flush=True)
    parts = [head]
    for name in names:
        start = time.monotonic()
        for section in await _BENCHES[name](plan):
            parts.append(section.markdown())
            print(f"\n{parts[-1]}", flush=True)
        print(f"({name}: {time.monotonic() - start:.0f} s)", file=sys.stderr, flush=True)
    return "\n\n".join(parts) + "\n"


def _many(text: str) -> int:
    """Read a number of sessions."""
    if int(text) < _FEWEST_SESSIONS:
        raise argparse.ArgumentTypeError(f"at least {_FEWEST_SESSIONS}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.sessions", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: figures mean nothing")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(_BENCHES),
        metavar="NAME",
        help=f"run this one; may be given again: {', '.join(_BENCHES)}",
    )
    parser.add_argument(
        "--sessions",
        type=_many,
        metavar="N",
        help="how many sessions sleep, at least 1000 (default: 100000)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write the page (default: docs/bench-sessions.md for a whole run, else nowhere)",
    )
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
