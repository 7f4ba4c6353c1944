"""The conformance suites against one server, served by the SDK directly and through Linkspan.

Run as `make bench-conformance`. Prints a table, and each check that only one of them passes.
"""

import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.conformance_suite import ConformanceReport, Suite, run_conformance
from tests.support.processes import linkspan

from linkspan_process.ready import parse_ready_line

SUITES: list[tuple[Suite, str | None]] = [
    ("stable", None),
    ("next", "2025-11-25"),
    ("next", "2026-07-28"),
]


@contextmanager
def served_by_the_sdk() -> Generator[str]:
    """Run the example under the SDK's own transport."""
    command = [sys.executable, str(Path(__file__).parent / "sdk_server.py")]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        yield (parse_ready_line(line) or {})["mcp"]
    finally:
        process.communicate(timeout=20)


@contextmanager
def served_by_linkspan() -> Generator[str]:
    """Run the example under `linkspan run`."""
    with (
        tempfile.TemporaryDirectory() as data,
        linkspan("run", "--port", "0", "--session-port", "0", "--data", data) as running,
    ):
        yield running.wait_ready()["mcp"]


def verdicts(report: ConformanceReport) -> dict[str, tuple[int, int]]:
    """Return how many checks of each scenario passed and failed."""
    return {each.name: (each.passed, each.failed) for each in report.scenarios}


def main() -> None:
    """Run all suites against both, and print what came of it."""
    print("| suite | SDK directly | through Linkspan |\n|---|---|---|")
    differences: list[str] = []
    with served_by_the_sdk() as direct, served_by_linkspan() as through:
        for suite, requirements in SUITES:
            one = run_conformance(suite, direct, requirements)
            other = run_conformance(suite, through, requirements)
            print(
                f"| {suite} {requirements or ''} | {one.passed} passed, {one.failed} failed "
                f"| {other.passed} passed, {other.failed} failed |"
            )
            before, after = verdicts(one), verdicts(other)
            differences += [
                f"{suite} {name}: {before.get(name)} directly, {after.get(name)} through"
                for name in sorted(before.keys() | after.keys())
                if before.get(name) != after.get(name)
            ]
    print("\n".join(["", "Scenarios that differ (passed, failed):", *differences]))


if __name__ == "__main__":
    main()
