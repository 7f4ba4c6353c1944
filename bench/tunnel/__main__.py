"""Measures calls through a tunnel against the same calls without, in turns, and prints a table.

Run as `python -m bench.tunnel`, from the repository. The client is this process, the server another
one; both run uvloop.
"""

import argparse
import statistics
import sys
from typing import Final

import grpc
import uvloop

from bench.figures import Section, number, spread
from bench.processes import script
from bench.tunnel.measuring import LARGE, LOADS, Figures, Load, caller, drive
from linkspan_tunnel import TunnelChannel

_CONCURRENCIES: Final = (1, 32, 256)


async def _measure(rounds: int, seconds: float) -> str:
    columns = (
        "calls",
        "at once",
        "tunnel : bare, calls/s",
        "calls/s, bare",
        "calls/s, tunnel",
        "p50 in µs, bare / tunnel",
        "p99 in µs, bare / tunnel",
        "CPU µs client + server, bare",
        "CPU µs client + server, tunnel",
    )
    section = Section(
        "What a tunnel saves",
        f"Medians over {rounds} rounds of {seconds} s, in turns, with the least and the greatest; the"
        " ratio is that of rounds next to each other.",
        columns,
    )
    with script("-m", "bench.tunnel.echo", ready="grpc") as (address, pid):
        bare = grpc.aio.insecure_channel(address)
        tunnel = TunnelChannel(
            grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))
        )
        plan = [(load, at_once) for load in LOADS for at_once in _CONCURRENCIES]
        for load, at_once in [*plan, (LARGE, 1), (LARGE, 8)]:
            calls = (caller(bare, load), caller(tunnel, load))
            for call in calls:
                await drive(call, load, at_once, min(0.2, seconds), pid)
            pairs = [
                [await drive(call, load, at_once, seconds, pid) for call in calls]
                for _ in range(rounds)
            ]
            section.rows.append(_row(load, at_once, pairs))
            sys.stderr.write(f"{section.rows[-1]}\n")
        await tunnel.close()
        await bare.close()
    return section.markdown()


def _row(load: Load, at_once: int, pairs: list[list[Figures]]) -> tuple[str, ...]:
    bare, tunnel = ([pair[way] for pair in pairs] for way in (0, 1))
    ratios = [pair[1].calls_per_second / pair[0].calls_per_second for pair in pairs]
    return (
        load.name,
        str(at_once),
        spread(ratios, number),
        spread([each.calls_per_second for each in bare], number),
        spread([each.calls_per_second for each in tunnel], number),
        " / ".join(number(statistics.median(e.p50_micros for e in way)) for way in (bare, tunnel)),
        " / ".join(number(statistics.median(e.p99_micros for e in way)) for way in (bare, tunnel)),
        *(_cpu(way) for way in (bare, tunnel)),
    )


def _cpu(figures: list[Figures]) -> str:
    client = statistics.median(each.client_micros for each in figures)
    server = statistics.median(each.server_micros for each in figures)
    return f"{number(client)} + {number(server)}"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.tunnel", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each round is")
    options = parser.parse_args()
    print(uvloop.run(_measure(options.rounds, options.seconds)))


if __name__ == "__main__":
    main()
