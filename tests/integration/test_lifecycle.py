"""The life of a service process, whatever it serves: how it starts, and that it always ends."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from textwrap import dedent, indent

import pytest
from tests.requirements import requirement
from tests.support.processes import clean_environ
from tests.support.waiting import PATIENCE_SECONDS

SERVICE = """
import asyncio, logging, sys, time
from linkspan_process.errors import StartError
from linkspan_process.lifecycle import run_service

logging.basicConfig(format="%(message)s")

async def serve(stop):
{body}

patience = float(sys.argv[1])
sys.exit(run_service("toaster", serve, end_within_seconds=patience, with_parent="-p" in sys.argv))
"""


class Toaster:
    """A service whose whole work is `body`; it says `ready` when a signal may come."""

    def __init__(self, body: str, *arguments: str, patience_seconds: float = 60.0) -> None:
        code = SERVICE.format(body=indent(dedent(body), "    "))
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(patience_seconds), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environ(),
        )

    def ready(self) -> None:
        """Wait for the word."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def end(self) -> tuple[int, list[str]]:
        """Wait for the end; returns the status and the lines of standard error."""
        _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, errors.splitlines()


Make = Callable[..., Toaster]


@pytest.fixture
def toaster() -> Iterator[Make]:
    """Make services that do not outlive the test."""
    made: list[Toaster] = []

    def make(body: str, *arguments: str, patience_seconds: float = 60.0) -> Toaster:
        made.append(Toaster(body, *arguments, patience_seconds=patience_seconds))
        return made[-1]

    yield make
    for each in made:
        each.process.kill()
        each.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_it_to_end_and_it_exits_with_0(toaster: Make, number: signal.Signals) -> None:
    service = toaster("print('ready', flush=True); await stop.wait()")
    service.ready()
    service.process.send_signal(number)
    assert service.end() == (0, [])


def test_the_end_of_its_input_asks_it_to_end_if_it_has_a_parent(toaster: Make) -> None:
    service = toaster("print('ready', flush=True); await stop.wait()", "-p")
    service.ready()
    assert service.end() == (0, [])


def test_what_it_cannot_start_with_is_one_line_and_status_2(toaster: Make) -> None:
    service = toaster("raise StartError('no bread; buy some')")
    assert service.end() == (2, ["linkspan toaster: no bread; buy some"])


def test_a_defect_is_logged_and_status_1(toaster: Make) -> None:
    status, errors = toaster("raise ValueError('burnt')").end()
    assert status == 1
    assert errors[0] == "the toaster process broke"
    assert errors[-1] == "ValueError: burnt"


@requirement("process.ends")
@pytest.mark.parametrize(
    "stubborn",
    [
        pytest.param("await asyncio.Event().wait()", id="waits"),
        pytest.param(
            """
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    pass
            """,
            id="heeds-no-cancellation",
        ),
        pytest.param("await stop.wait(); time.sleep(60)", id="blocks-the-loop"),
    ],
)
def test_what_does_not_come_to_an_end_is_left_behind(toaster: Make, stubborn: str) -> None:
    service = toaster("print('ready', flush=True)\n" + dedent(stubborn), patience_seconds=0.3)
    service.ready()
    service.process.send_signal(signal.SIGTERM)
    status, errors = service.end()
    assert status == 1
    assert errors == ["the toaster process did not end in time; what still runs is left behind"]
