"""The command line: what `linkspan run` does when one of its processes dies, or it does."""

import os
import signal
from contextlib import suppress

import pytest
from tests.integration.starting.commands import BROKEN, children_of, is_running, nobody_serves
from tests.requirements import requirement
from tests.support.peer import session_at
from tests.support.processes import ServiceProcess
from tests.support.waiting import wait_until


@requirement("cli.child-dies")
@pytest.mark.parametrize(
    ("victim", "number"),
    [("session", signal.SIGKILL), ("worker", signal.SIGKILL), ("worker", signal.SIGTERM)],
)
def test_if_a_child_dies_the_other_is_stopped_and_the_command_fails(
    running: ServiceProcess, victim: str, number: signal.Signals
) -> None:
    addresses = running.wait_ready()
    children = children_of(running)
    os.kill(children[victim], number)
    assert running.wait() == BROKEN
    assert not any(map(is_running, children.values()))
    assert nobody_serves(addresses)
    (line,) = [line for line in running.errors if line.startswith("linkspan run: ")]
    expected = f"of signal {number.name}" if number is signal.SIGKILL else "with status 0"
    assert f"ended by itself, {expected}" in line
    assert not any("Traceback" in line for line in running.errors)


@requirement("cli.child-dies")
def test_serving_goes_on_without_the_trace_backend(running: ServiceProcess) -> None:
    addresses = running.wait_ready()
    os.kill(children_of(running)["traces"], signal.SIGKILL)
    wait_until(lambda: any("trace backend ended" in line for line in running.errors), "its words")
    with session_at(addresses["mcp"]) as peer:
        assert peer.ask("probe/say", {"text": "hi"}).status == 200
    assert running.stop() == 0


@requirement("cli.child-dies")
def test_the_children_do_not_outlive_the_command_even_if_it_is_killed(
    running: ServiceProcess,
) -> None:
    addresses = running.wait_ready()
    children = children_of(running)
    running.signal(signal.SIGKILL)
    try:
        running.wait()
        wait_until(lambda: nobody_serves(addresses), "the end of both servers")
        wait_until(lambda: not any(map(is_running, children.values())), "the end of both children")
    finally:
        for pid in children.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
