"""What a worker says of itself, in its log, when no session server can be reached."""

import asyncio
import socket
from pathlib import Path

import pytest
from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess, linkspan
from tests.support.waiting import wait_until

from linkspan_worker.reaching import why_unreachable


def lines(process: ServiceProcess, words: str) -> list[str]:
    return [line for line in process.errors if words in line]


def wait_for(process: ServiceProcess, words: str, times: int) -> None:
    wait_until(lambda: len(lines(process, words)) == times, f"{words}, {times} times")


@requirement("worker.unreachable")
@pytest.mark.parametrize("tls", [False, True])
def test_a_worker_that_nobody_has_asked_says_once_that_no_session_server_is_there_and_once_it_is(
    tls: bool, tmp_path: Path
) -> None:
    flags = Authority(tmp_path).issue("both", ("127.0.0.1",)).flags if tls else ()
    address = f"127.0.0.1:{free_port()}"
    session = ("session", "--app", PROBE, "--port", address.rpartition(":")[2])
    away = f"no session server can be reached at {address}: connection refused"
    back = f"session servers can be reached again at {address}"
    with linkspan("worker", "--session", address, "--port", "0", *flags) as worker:
        worker.wait_ready()
        for times in (1, 2):
            wait_for(worker, away, times)
            assert '"level": "warning"' in lines(worker, away)[-1]
            with linkspan(*session, "--data", str(tmp_path / "data"), *flags) as server:
                server.wait_ready()
                wait_for(worker, back, times)
        assert len(lines(worker, "no session server")) == 2
        assert not lines(worker, "Traceback")


def test_the_reason_is_the_systems(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        listening = f"127.0.0.1:{silent.getsockname()[1]}"
        closed = f"127.0.0.1:{free_port()}"
        missing = f"unix:{tmp_path}/missing.sock"
        for target, addresses, reason in (
            (closed, [closed], "connection refused"),
            (f"dns:///{closed}", [], "connection refused"),
            (f"ipv4:{closed},{closed}", [closed, closed], "connection refused"),
            (missing, [missing], "no such file or directory"),
            ("unix-abstract:none-here", ["unix-abstract:none-here"], "connection refused"),
            (listening, [listening], "something listens there, and does not answer as a session "),
        ):
            assert asyncio.run(why_unreachable(target, addresses)).startswith(reason), target
