"""The command: lets the forms take turns, and prints what a call costs in each.

What is measured is the processor time of this process, in which client and server both are: on a
machine that has other things to do, it is steadier than the clock. Each round takes all forms in
turn, and a ratio is of one round; the table has their median and the middle half.
"""

import argparse
import asyncio
import gc
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from bench.figures import Section, number
from bench.propagation.forms import Form, forms, start_aio, start_sync
from bench.propagation.measuring import MESSAGE, aio_slice, below_a_span

SYNC_THREADS = 4


def sync_slice(
    pool: ThreadPoolExecutor, call: Callable[[bytes], bytes], calls: int, at_once: int
) -> float:
    """As `aio_slice`, from threads."""
    share = calls // at_once

    def caller() -> None:
        for _ in range(share):
            if call(MESSAGE) != MESSAGE:
                raise AssertionError("a wrong answer")

    gc.collect()
    before = time.process_time()
    for waiting in [pool.submit(copy_context().run, caller) for _ in range(at_once)]:
        waiting.result()
    return (time.process_time() - before) / (share * at_once) * 1e6


async def measure_aio(
    compared: Sequence[Form], *, rounds: int, calls: int, at_once: int
) -> dict[str, list[float]]:
    """Return microseconds a call, of each round, by form."""
    running: dict[str, tuple[Any, Callable[[bytes], Any]]] = {
        form.name: await start_aio(form) for form in compared
    }
    taken: dict[str, list[float]] = {form.name: [] for form in compared}
    for number_of_round in range(rounds + 1):
        for name, (_, call) in running.items():
            took = await aio_slice(call, calls, at_once)
            if number_of_round:  # the first is for warming up
                taken[name].append(took)
    for server, _ in running.values():
        await server.stop(0)
    return taken


def measure_sync(
    compared: Sequence[Form], *, rounds: int, calls: int, at_once: int
) -> dict[str, list[float]]:
    """As `measure_aio`, for sync gRPC."""
    running: dict[str, tuple[Any, Callable[[bytes], Any]]] = {
        form.name: start_sync(form) for form in compared
    }
    taken: dict[str, list[float]] = {form.name: [] for form in compared}
    with ThreadPoolExecutor(at_once) as pool:
        for number_of_round in range(rounds + 1):
            for name, (_, call) in running.items():
                took = sync_slice(pool, call, calls, at_once)
                if number_of_round:
                    taken[name].append(took)
    for server, _ in running.values():
        server.stop(0).wait()
    return taken


def table(title: str, compared: Sequence[Form], taken: dict[str, list[float]]) -> Section:
    """Write what came of it."""
    section = Section(
        title, "Processor time of client and server together.", ("form", "µs a call", "times bare")
    )
    bare = taken[compared[0].name]
    for form in compared:
        own = taken[form.name]
        ratios = sorted(mine / base for mine, base in zip(own, bare, strict=True))
        quarter = len(ratios) // 4
        middle = f"{statistics.median(ratios):.3f}"
        half = f"({ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f})"
        section.rows.append((form.name, number(statistics.median(own)), f"{middle} {half}"))
    return section


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.propagation", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--sync", action="store_true", help="sync gRPC instead of grpc.aio")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=320, help="in a round, of each form")
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--only", help="forms whose names hold this, beside bare gRPC")
    arguments = parser.parse_args()
    rounds, calls = (2, 64) if arguments.quick else (arguments.rounds, arguments.calls)
    all_forms = forms()
    compared = [
        form
        for form in all_forms
        if form is all_forms[0] or arguments.only is None or arguments.only in form.name
    ]
    below_a_span()
    if arguments.sync:
        taken = measure_sync(compared, rounds=rounds, calls=calls, at_once=SYNC_THREADS)
        title = f"Sync gRPC, {SYNC_THREADS} callers at once"
    else:
        at_once = arguments.at_once
        taken = asyncio.run(measure_aio(compared, rounds=rounds, calls=calls, at_once=at_once))
        title = f"grpc.aio, {at_once} calls at once"
    print(table(title, compared, taken).markdown())
    print(f"\nLoad of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
