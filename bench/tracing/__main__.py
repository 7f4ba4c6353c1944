"""The command: measures what spans cost, and prints it as a page."""

import argparse
import asyncio
import os
import subprocess
import sys
from pathlib import Path

import uvloop

from bench.figures import filled
from bench.tracing import serving, spans

_ROOT = Path(__file__).parents[2]

_HEAD = """\
`python -m bench.tracing` takes these figures. Each is the median over {rounds} rounds, in which the
things that are compared take turns, with the least and the greatest in brackets. Times are of one
machine and its load; ratios carry further."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.tracing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="default: 7")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each load; default: 1")
    parser.add_argument("--output", type=Path, help="where to write the page, if anywhere")
    options = parser.parse_args()
    head = filled(_HEAD.format(rounds=options.rounds))
    load = f"Load average before the run: {os.getloadavg()[0]:.2f}."
    parts = ["# What a span costs", head, load, spans.measure(options.rounds).markdown()]
    command = [sys.executable, "-m", "bench.tracing.receiver"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
    ) as receiver:
        endpoint = receiver.stdout.readline().strip() if receiver.stdout else ""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured = runner.run(serving.measure(options.rounds, options.seconds, endpoint))
        parts.append(measured.markdown())
        receiver.communicate()
    page = "\n\n".join(parts) + "\n"
    print(page)
    if options.output is not None:
        options.output.write_text(page)


if __name__ == "__main__":
    main()
