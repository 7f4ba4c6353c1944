"""The command line: what is told to stop ends, with all that it started."""

import signal
from pathlib import Path

import pytest
from tests.integration.starting.commands import children_of, is_running, nobody_serves, said
from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.mcp_http import call, http_session
from tests.support.peer import session_at
from tests.support.processes import EVERYTHING, ServiceProcess, linkspan
from tests.support.waiting import wait_until


@requirement("cli.stops-clean")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_and_exits_with_0(
    running: ServiceProcess, number: signal.Signals, tmp_path: Path
) -> None:
    addresses = running.wait_ready()
    told = "\n".join(running.output)
    assert running.output[-1] == "ready " + " ".join(
        f"{name}={addresses[name]}" for name in ("mcp", "grpc", "traces")
    )
    for each in (PROBE, *addresses.values(), str(tmp_path), "grpcurl -plaintext"):
        assert each in told
    children = children_of(running)
    assert set(children) == {"session", "worker", "traces"}
    with session_at(addresses["mcp"]) as peer:
        assert peer.ask("probe/say", {"text": "hi"}).status == 200
    running.signal(number)
    assert running.wait() == 0
    assert nobody_serves(addresses)
    assert not any(map(is_running, children.values()))
    assert not any("Traceback" in line for line in running.errors)


@requirement("cli.stops-clean")
def test_a_signal_before_it_is_ready_ends_it_too(running: ServiceProcess) -> None:
    wait_until(lambda: bool(children_of(running)), "the first child")
    children = children_of(running)
    running.signal(signal.SIGINT)
    assert running.wait() == 0
    assert running.output == []
    assert not any(map(is_running, children.values()))
    assert not any("Traceback" in line for line in running.errors)


@requirement("cli.stops-clean")
@pytest.mark.parametrize(
    ("command", "number"), [("session", signal.SIGINT), ("worker", signal.SIGTERM)]
)
def test_one_half_by_itself_ends_cleanly(
    command: str, number: signal.Signals, tmp_path: Path
) -> None:
    own = ("--app", PROBE, "--data", str(tmp_path)) if command == "session" else ()
    with linkspan(command, *own, "--port", "0") as process:
        process.wait_ready()
        process.signal(number)
        assert process.wait() == 0
        assert not any("Traceback" in line for line in process.errors)


@requirement("cli.stops-clean")
@pytest.mark.parametrize("command", [("run",), ("session", "--app", EVERYTHING), ("worker",)])
def test_ctrl_c_before_anything_serves_prints_no_stack_trace(command: tuple[str, ...]) -> None:
    with linkspan(*command, "--port", "0") as process:
        process.signal(signal.SIGINT)
        process.wait()
        # The interpreter itself tells of a signal that comes before any code of ours has run.
        assert not any("linkspan" in line for line in process.errors if "File" in line)


@requirement("cli.stops-clean")
def test_a_second_ctrl_c_waits_for_nothing(tmp_path: Path) -> None:
    ports = ("--port", "0", "--session-port", "0")
    patient = {"LINKSPAN_SESSION_DRAIN_TIMEOUT": "90", "LINKSPAN_WORKER_DRAIN_TIMEOUT": "90"}
    with linkspan("run", *ports, "--data", str(tmp_path), env=patient) as process:
        addresses = process.wait_ready()
        with (
            http_session(addresses["mcp"]) as session,
            session.stream(call("count", {"to": 1000, "every_seconds": 0.1})) as events,
        ):
            next(events)
            process.signal(signal.SIGINT)
            wait_until(lambda: said(process, "shutting down"), "the first to be heard")
            wait_until(lambda: said(process, "has 90 s to end"), "what it waits for to be told")
            process.signal(signal.SIGINT)
            process.wait()
        assert nobody_serves(addresses)
        assert not said(process, "ended by itself")
