"""The official conformance suites, through worker and session server: every check, none excused.

The figures are those of the suites' versions in `tests/peers/conformance/package.json`; a newer
version will have others.
"""

import asyncio
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest
from tests.peers.conformance_suite import ConformanceReport, Suite, run_conformance
from tests.requirements import requirement
from tests.support.processes import linkspan
from tests.support.round_robin import RoundRobinProxy
from tests.support.stack import running_stack

SUITES: list[tuple[Suite, str | None, int]] = [
    ("stable", None, 47),
    ("next", "2025-11-25", 84),
    ("next", "2026-07-28", 197),
]
"""Each suite, the requirements it is run for, and how many checks that is."""

pytestmark = pytest.mark.timeout(180)  # the first run installs the suites


def flaws(report: ConformanceReport) -> list[str]:
    return [
        f"{scenario.name}: {flaw.id}: {flaw.message}"
        for scenario in report.scenarios
        for flaw in scenario.flaws
        if flaw.status == "FAILURE"
    ]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One worker, one session server, as `linkspan run` starts them."""
    data = str(tmp_path_factory.mktemp("data"))
    with linkspan("run", "--port", "0", "--session-port", "0", "--data", data) as running:
        yield running.wait_ready()["mcp"]


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two workers behind a proxy that gives each connection to the next, one session server."""
    with running_stack(tmp_path_factory.mktemp("data")) as stack, stack.another_worker() as second:
        ports = [
            int(address.removesuffix("/mcp").rpartition(":")[2]) for address in (stack.mcp, second)
        ]
        with proxy(ports) as port:
            yield f"http://127.0.0.1:{port}/mcp"


@contextmanager
def proxy(ports: list[int]) -> Generator[int]:
    """Run the proxy on a thread of its own."""
    started: list[int] = []
    ready = threading.Event()
    running = RoundRobinProxy(ports)
    loop = asyncio.new_event_loop()

    def serve() -> None:
        async def main() -> None:
            started.append(await running.start())
            ready.set()
            await running.closed()

        loop.run_until_complete(main())

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(timeout=30)
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(running.close)
        thread.join(timeout=30)
        loop.close()
        assert min(running.connections) > 10, "the proxy did not spread the connections"


@requirement("conformance")
@pytest.mark.parametrize(("suite", "requirements", "checks"), SUITES)
def test_every_check_passes(
    address: str, suite: Suite, requirements: str | None, checks: int
) -> None:
    report = run_conformance(suite, address, requirements)
    assert flaws(report) == []
    assert (report.passed, report.failed) == (checks, 0)


@requirement("conformance.two-workers")
@pytest.mark.parametrize(("suite", "requirements", "checks"), SUITES)
def test_every_check_passes_when_requests_of_a_session_land_on_two_workers(
    balanced: str, suite: Suite, requirements: str | None, checks: int
) -> None:
    report = run_conformance(suite, balanced, requirements)
    assert flaws(report) == []
    assert (report.passed, report.failed) == (checks, 0)
