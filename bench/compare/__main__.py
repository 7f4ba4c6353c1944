"""The command: runs the benches that are asked for, and writes the page and its charts.

With `--against`, it compares this checkout with an earlier version instead, and fails if that was
faster.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Final

import uvloop
from tests.peers.node import node_binary

from bench.compare import regression
from bench.compare.arms import PEERS_FOLDER
from bench.compare.benches import BENCHES, Outcome
from bench.compare.pages import charts, page
from bench.compare.plan import Plan, quick_plan
from bench.sessions.machine import facts

_DOCS: Final = Path(__file__).parents[2] / "docs"
_BUSY: Final = 0.5
"""From which load average on the machine has other things to do."""

_VERSION_SECONDS: Final = 20.0


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    # Each stream of a client is a file of two or three processes.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if os.getloadavg()[0] > _BUSY:
        print("(the machine is busy: figures are noise, ratios less so)", file=sys.stderr)
    with (
        tempfile.TemporaryDirectory(prefix="bench-compare-") as work,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        plan = quick_plan(Path(work)) if options.quick else Plan(Path(work))
        if options.against is not None:
            return runner.run(_regress(plan, options))
        before = [facts(plan.work), _versions()]
        names = options.only or list(BENCHES)
        found = runner.run(_run(plan, names))
    text = page(found, plan, before)
    print(text)
    output = options.output
    if output is None and not (options.quick or options.only):
        output = _DOCS
    if output is not None:
        _write(output, text, found)
    if options.samples is not None:
        loads = {name: outcome.loads for name, outcome in found.items()}
        options.samples.write_text(json.dumps(loads, default=asdict, indent=1))
    return 0


async def _run(plan: Plan, names: Sequence[str]) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    for name in BENCHES:
        if name in names:
            start = time.monotonic()
            found[name] = await BENCHES[name](plan)
            print(f"({name}: {time.monotonic() - start:.0f} s)", file=sys.stderr, flush=True)
    return found


async def _regress(plan: Plan, options: argparse.Namespace) -> int:
    revision = options.against or regression.default_revision()
    try:
        section, fine = await regression.compare(plan.for_regression(), revision, options.tolerance)
    except subprocess.CalledProcessError as error:
        said = str(error.stderr or b"", "utf-8", "replace").strip()
        print(f"{error} {said}", file=sys.stderr)
        return 2
    print(section.markdown())
    return 0 if fine else 1


def _write(folder: Path, text: str, found: dict[str, Outcome]) -> None:
    """Write the page, and the charts in a folder beside it."""
    pictures = folder / "bench"
    pictures.mkdir(parents=True, exist_ok=True)
    (folder / "bench.md").write_text(text)
    loads = {name: outcome.loads for name, outcome in found.items()}
    for file, (_, _, picture) in charts(loads).items():
        (pictures / file).write_text(picture)


def _versions() -> str:
    """Say which peers these are."""
    lock = json.loads((PEERS_FOLDER / "package.json").read_text())
    sdk = lock["dependencies"]["@modelcontextprotocol/sdk"]
    node = subprocess.run(
        [node_binary(), "--version"],
        check=True,
        capture_output=True,
        text=True,
        timeout=_VERSION_SECONDS,
    ).stdout.strip()
    return (
        f"The peers: mcp {version('mcp')}, fastmcp {version('fastmcp')}, and "
        f"`@modelcontextprotocol/sdk` {sdk} on Node {node}."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run: figures are rough")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(BENCHES),
        metavar="NAME",
        help=f"run this one; may be given again: {', '.join(BENCHES)}",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where to write bench.md and bench/*.svg (default: docs for a whole run, else nowhere)",
    )
    parser.add_argument(
        "--samples", type=Path, metavar="FILE", help="where to write all samples, as JSON"
    )
    parser.add_argument(
        "--against",
        nargs="?",
        const="",
        metavar="REVISION",
        help="compare with this version of Linkspan instead (default: the commit before)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=regression.TOLERANCE,
        metavar="SHARE",
        help=f"by what share it may be slower than that (default: {regression.TOLERANCE})",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
