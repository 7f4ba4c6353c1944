"""Unix sockets between worker and session server: who may connect, and what becomes of the file."""

import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.peer import session_at
from tests.support.processes import EVERYTHING, linkspan

GRPCURL = str(Path(sys.prefix) / "bin" / "grpcurl")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: the path of a socket has 107 bytes at most."""
    made = tempfile.mkdtemp(prefix="linkspan-")
    yield Path(made)
    shutil.rmtree(made)


def session_command(path: Path, data: Path, app: str = EVERYTHING) -> tuple[str, ...]:
    return ("session", "--app", app, "--host", f"unix:{path}", "--data", str(data))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@requirement("unix.sockets")
@pytest.mark.parametrize(("flags", "mode"), [((), 0o600), (("--socket-mode", "660"), 0o660)])
def test_a_worker_calls_over_a_socket_that_only_its_owner_may_use(
    flags: tuple[str, ...], mode: int, folder: Path, tmp_path: Path
) -> None:
    path = folder / "session.sock"
    with linkspan(*session_command(path, tmp_path), *flags) as server:
        address = server.wait_ready()["grpc"]
        assert address == f"unix:{path}"
        assert mode_of(path) == mode
        with (
            linkspan("worker", "--session", address, "--port", "0") as worker,
            session_at(worker.wait_ready()["mcp"]) as session,
        ):
            assert session.call("add", a=2, b=3).result["structuredContent"] == {"result": 5}
            with linkspan("sessions", "list", "--server", address, "--json") as listed:
                assert listed.wait() == 0, listed.errors
                assert f'"owner_address": "{address}"' in listed.output[0]
        plain = [GRPCURL, "-plaintext", "-unix", str(path), "list"]
        done = subprocess.run(plain, capture_output=True, text=True, timeout=30, check=False)
        assert "linkspan.session.v1.SessionService" in done.stdout, done.stderr
        assert server.stop() == 0
        assert not path.exists()


@requirement("unix.stale")
def test_the_socket_of_a_killed_server_is_replaced_and_its_sessions_are_taken_over(
    folder: Path, tmp_path: Path
) -> None:
    path = folder / "session.sock"
    with linkspan(*session_command(path, tmp_path)) as first:
        address = first.wait_ready()["grpc"]
        with (
            linkspan("worker", "--session", address, "--port", "0") as worker,
            session_at(worker.wait_ready()["mcp"]) as session,
        ):
            assert session.call("add", a=1, b=1).status == 200
            first.signal(signal.SIGKILL)
            first.wait()
            assert path.exists()
            with linkspan(*session_command(path, tmp_path)) as second:
                second.wait_ready()
                assert session.call("add", a=2, b=3).result["structuredContent"] == {"result": 5}


@requirement("unix.sockets")
def test_of_two_servers_with_sockets_one_takes_over_from_the_other_when_that_dies(
    folder: Path, tmp_path: Path
) -> None:
    store = ("--store", f"sqlite:///{tmp_path / 'sessions.db'}")
    one, two = folder / "one.sock", folder / "two.sock"
    with (
        linkspan(*session_command(one, tmp_path), *store) as first,
        linkspan(*session_command(two, tmp_path), *store) as second,
    ):
        addresses = [first.wait_ready()["grpc"], second.wait_ready()["grpc"]]
        with (
            linkspan("worker", "--session", addresses[0], "--port", "0") as near,
            linkspan("worker", "--session", addresses[1], "--port", "0") as far,
            session_at(near.wait_ready()["mcp"]) as session,
        ):
            assert session.call("add", a=1, b=1).status == 200
            session.address = far.wait_ready()["mcp"]  # by redirect, to the other socket
            assert session.call("add", a=1, b=2).status == 200
            first.signal(signal.SIGKILL)
            first.wait()
            assert session.call("add", a=2, b=3).result["structuredContent"] == {"result": 5}


@requirement("unix.stale")
def test_what_is_in_the_way_of_a_socket_stops_the_start(folder: Path, tmp_path: Path) -> None:
    taken, file = folder / "taken.sock", folder / "file"
    file.write_text("kept")
    with socket.socket(socket.AF_UNIX) as somebody:
        somebody.bind(str(taken))
        somebody.listen()
        for path, words in (
            (taken, "Address already in use"),
            (file, "a file is there, and no socket"),
            (folder / "none" / "x.sock", "there is no folder"),
        ):
            with linkspan(*session_command(path, tmp_path, PROBE)) as process:
                assert process.wait() == 2
                (line,) = process.errors
            says = f"linkspan session: cannot serve on unix:{path}: {words}"
            assert line.startswith(says), line
            assert line.endswith("with --host")
    assert file.read_text() == "kept"


@requirement("unix.sockets")
def test_linkspan_run_takes_a_socket_for_its_session_server(folder: Path, tmp_path: Path) -> None:
    env = {"LINKSPAN_SESSION_HOST": f"unix:{folder / 'run.sock'}"}
    words = ("run", "--port", "0", "--no-traces", "--data", str(tmp_path))
    with linkspan(*words, env=env) as process:
        addresses = process.wait_ready()
        assert addresses["grpc"] == env["LINKSPAN_SESSION_HOST"]
        with session_at(addresses["mcp"]) as session:
            assert session.call("add", a=2, b=3).result["structuredContent"] == {"result": 5}
        assert any(f"grpcurl -plaintext -unix {folder}" in line for line in process.output)
    with linkspan(*words, "--session-processes", "2", env=env) as process:
        assert process.wait() == 2
        (line,) = process.errors
        assert "LINKSPAN_SESSION_HOST: --session-processes 2 cannot all serve there" in line
