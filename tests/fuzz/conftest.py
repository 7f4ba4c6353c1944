"""What fuzzers share: a stack that they try to break, and a summary of how often they tried."""

from collections.abc import Iterator

import pytest
from tests.support.apps import PROBE
from tests.support.stack import Stack, running_stack

TRIED = "inputs tried"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A worker and a session server of a file's own, whose memory nobody else uses."""
    with running_stack(tmp_path_factory.mktemp("target")) as running:
        yield running


@pytest.fixture(scope="module")
def prober(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The same, hosting handlers that echo."""
    with running_stack(tmp_path_factory.mktemp("prober"), app=PROBE) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many inputs were tried, in other processes of the run, too."""
    counts: dict[str, object] = {}
    for report in terminalreporter.getreports(""):
        for name, value in getattr(report, "user_properties", ()):
            if name == TRIED:
                counts[report.nodeid.rpartition("::")[2]] = value
    if counts:
        terminalreporter.section(TRIED)
        for test, count in sorted(counts.items()):
            terminalreporter.write_line(f"{count:>9} {test}")
