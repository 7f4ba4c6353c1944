"""`linkspan sessions` when something is wrong, or somebody stops it: one line, and a status."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest
from tests.integration.sessions_command.commands import INTERRUPTED, sessions
from tests.requirements import requirement
from tests.support.processes import linkspan
from tests.support.session_calls import TIMEOUT_SECONDS


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """Somebody who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT_SECONDS)
        yield listener


def address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


@requirement("cli.sessions-errors")
@pytest.mark.parametrize("words", [("list",), ("list", "--json"), ("show", "an-id")])
def test_a_server_that_is_not_there_is_one_line(words: tuple[str, ...]) -> None:
    told = sessions(*words, server="127.0.0.1:1")
    assert (told.status, told.output) == (1, [])
    assert told.error == (
        "linkspan sessions: no session server answers at 127.0.0.1:1; is one running, and is this "
        "its gRPC port? Start one with `linkspan run` or `linkspan session`, or name another with "
        "--server"
    )


def test_sessions_that_cannot_be_ended_are_a_failure() -> None:
    told = sessions("end", "one", "--yes", server="127.0.0.1:1")
    assert (told.status, told.output) == (1, ["ended 0, gone already 0, failed 1"])
    assert told.error.startswith("linkspan sessions: no session server answers at 127.0.0.1:1; ")


def test_a_port_that_speaks_something_else_is_one_line(deaf: socket.socket) -> None:
    with linkspan("sessions", "list", "--server", address_of(deaf)) as process:
        connection, _ = deaf.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            deaf.close()
            assert process.wait() == 1
        (line,) = process.errors
    assert line.startswith("linkspan sessions: no session server answers at ")


@pytest.mark.parametrize(
    ("words", "env", "says"),
    [
        (("list", "--server", "nowhere"), {}, "argument --server: must be HOST:PORT"),
        (("list", "--limit", "0"), {}, "argument --limit: must be a number from 1"),
        (("list", "--state", "ended"), {}, "argument --state: invalid choice: 'ended'"),
        (("show", "a b"), {}, "argument ID: must be a session id"),
        (("end", "--yes"), {}, "end needs the ids of the sessions to end, or --all"),
        (("end", "an-id", "--all"), {}, "end takes either session ids or --all, not both"),
        (("begin",), {}, "invalid choice: 'begin'"),
        (("list",), {"LINKSPAN_SESSIONS_SERVER": "x"}, "LINKSPAN_SESSIONS_SERVER is not a setting"),
        (("list",), {"LINKSPAN_WORKER_SESSION": "x"}, "LINKSPAN_WORKER_SESSION: must be HOST:PORT"),
    ],
)
def test_bad_usage_is_one_line_and_nothing_is_asked(
    words: tuple[str, ...], env: Mapping[str, str], says: str
) -> None:
    told = sessions(*words, env=env)
    assert (told.status, told.output) == (2, [])
    assert told.error.startswith("linkspan sessions")
    assert says in told.error


def test_help_is_told_without_loading_grpc() -> None:
    code = (
        "import sys; from linkspan_cli.main import main\n"
        "try: main(['sessions', 'end', '--help'])\n"
        "except SystemExit: print({'grpc', 'google.protobuf'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("usage: ")
    assert told.stdout.endswith("set()\n")


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("list",), []),
        (("show", "an-id"), []),
        (("end", "--yes", "one", "two"), ["ended 0, gone already 0, failed 0, left 2"]),
        (("end", "--yes", "--all"), []),
    ],
)
def test_ctrl_c_ends_it_with_130_and_no_traceback(
    deaf: socket.socket, words: tuple[str, ...], output: list[str]
) -> None:
    with linkspan("sessions", *words, "--server", address_of(deaf)) as process:
        connection, _ = deaf.accept()
        with connection:
            process.signal(signal.SIGINT)
            assert process.wait() == INTERRUPTED
        assert (process.output, process.errors) == (output, [])
