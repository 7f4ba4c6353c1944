"""`linkspan sessions` as operators use it: real processes, real sessions, pipes and terminals."""

import asyncio
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.peer import INITIALIZE, request
from tests.support.processes import REPOSITORY, clean_environ, linkspan
from tests.support.session_calls import TIMEOUT_SECONDS, Service, service_at

from linkspan.session.v1.session_pb2 import Principal
from linkspan.session.v1.session_service_pb2 import HandleRequestRequest, InitRequest, Post
from linkspan_cli.sessions.client import PAGE_SIZE, SessionsClient

ADA: Final = Principal(issuer="https://issuer.example", subject="ada", resource="r")
CROWD: Final = 2 * PAGE_SIZE + 20
INTERRUPTED: Final = 130

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What a command said, and how it ended."""

    status: int
    output: list[str]
    errors: list[str]

    @property
    def error(self) -> str:
        """The only line on standard error."""
        (line,) = self.errors
        return line


def sessions(*words: str, server: str = "", env: Mapping[str, str] | None = None) -> Told:
    """Run `linkspan sessions` without a terminal, to its end."""
    where = ("--server", server) if server else ()
    with linkspan("sessions", words[0], *where, *words[1:], env=env) as process:
        return Told(process.wait(), process.output, process.errors)


def rows(*words: str, server: str) -> list[Row]:
    """Run `linkspan sessions ... --json`, which must end well and say nothing else."""
    told = sessions(*words, "--json", server=server)
    assert (told.status, told.errors) == (0, [])
    return [json.loads(line) for line in told.output]


def ids(*words: str, server: str) -> list[str]:
    return [each["session_id"] for each in rows("list", *words, server=server)]


def server_command(data: Path) -> tuple[str, ...]:
    return ("session", "--app", PROBE, "--port", "0", "--data", str(data))


@contextmanager
def session_server(data: Path) -> Generator[str]:
    with linkspan(*server_command(data)) as process:
        yield process.wait_ready()["grpc"]


def ask(target: str, scenario: Callable[[Service], Awaitable[Any]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(2 * TIMEOUT_SECONDS), service_at(target) as service:
            await scenario(service)

    asyncio.run(main())


async def init(service: Service, *names: str, principal: Principal | None = None) -> None:
    for start in range(0, len(names), 100):
        asked = [InitRequest(session_id=each, principal=principal) for each in names[start:][:100]]
        await asyncio.gather(*(service.Init(each, timeout=TIMEOUT_SECONDS) for each in asked))


async def open_session(service: Service, name: str, principal: Principal | None = None) -> None:
    await init(service, name, principal=principal)
    post = Post(message=json.dumps(request("initialize", INITIALIZE)))
    asked = HandleRequestRequest(session_id=name, principal=principal, post=post)
    assert [event async for event in service.HandleRequest(asked, timeout=TIMEOUT_SECONDS)]


def make(target: str, *names: str) -> None:
    """Make sessions that are not initialized yet."""
    ask(target, lambda service: init(service, *names))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A session server with one session asleep, one live and one created, in that order."""
    data = tmp_path_factory.mktemp("few")
    with linkspan(*server_command(data)) as first:
        ask(first.wait_ready()["grpc"], lambda service: open_session(service, "sleeper"))
        assert first.stop() == 0
    with session_server(data) as target:
        ask(target, lambda service: open_session(service, "adas", ADA))
        make(target, "newcomer")
        yield target


@pytest.fixture
def target(tmp_path: Path) -> Iterator[str]:
    """A session server without sessions, for a test to end some."""
    with session_server(tmp_path) as target:
        yield target


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A session server with three pages of sessions; nobody ends any."""
    with session_server(tmp_path_factory.mktemp("crowd")) as target:
        make(target, *(f"one-of-the-crowd-{number:05}" for number in range(CROWD)))
        yield target


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """Somebody who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT_SECONDS)
        yield listener


def address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


# --- terminals -------------------------------------------------------------------------------------


class Terminal:
    """A command whose standard input and error are a terminal, and whose output is a pipe."""

    def __init__(self, *words: str) -> None:
        self._screen, inner = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "linkspan_cli", "sessions", *words],
            stdin=inner,
            stdout=subprocess.PIPE,
            stderr=inner,
            cwd=REPOSITORY,
            env=clean_environ(),
        )
        os.close(inner)
        self.shown = ""
        """What came on the terminal so far."""

    def wait_for(self, text: str) -> None:
        """Read the terminal until it shows something."""
        while text not in self.shown:
            assert self._read(), f"not shown: {text!r} in {self.shown!r}"

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def end(self) -> Told:
        """Read to the end."""
        assert self.process.stdout is not None
        output = self.process.stdout.read().decode().splitlines()
        while self._read():
            pass
        return Told(self.process.wait(TIMEOUT_SECONDS), output, self.shown.splitlines())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._screen)

    def _read(self) -> bool:
        readable, _, _ = select.select([self._screen], [], [], TIMEOUT_SECONDS)
        assert readable, f"nothing comes after {self.shown!r}"
        try:
            piece = os.read(self._screen, 65536)
        except OSError:  # Linux's way to say that nobody holds the other end
            return False
        self.shown += piece.decode()
        return bool(piece)


@contextmanager
def terminal(*words: str) -> Generator[Terminal]:
    opened = Terminal(*words)
    try:
        yield opened
    finally:
        opened.close()


def last_of(shown: str) -> str:
    """Return what is left to be seen on the last line of a terminal."""
    cells: list[str] = []
    for piece in shown.rpartition("\n")[2].split("\r"):
        cells[: len(piece)] = piece
    return "".join(cells).rstrip()


# --- list ------------------------------------------------------------------------------------------


def test_sessions_are_listed_oldest_first_with_their_ids_at_the_end(few: str) -> None:
    told = sessions("list", server=few)
    assert (told.status, told.errors) == (0, [])
    header, *lines = told.output
    assert " ".join(header.split()) == "STATE OWNER AGE IDLE CLIENT PROTOCOL RUNNING STORED ID"
    assert [line[header.rindex("ID") :] for line in lines] == ["sleeper", "adas", "newcomer"]
    assert [line.split()[:2] for line in lines] == [
        ["asleep", "-"],
        ["live", few],
        ["created", few],
    ]
    assert "  peer 1  " in lines[0]


@requirement("cli.sessions-list")
def test_sessions_are_listed_as_json_with_all_that_is_known(few: str) -> None:
    asleep, live, created = rows("list", server=few)
    assert (
        live.items()
        >= {
            "session_id": "adas",
            "state": "live",
            "principal": {"issuer": ADA.issuer, "subject": "ada", "resource": "r"},
            "client_name": "peer",
            "client_version": "1",
            "protocol_version": "2025-11-25",
            "owner_address": few,
            "requests_in_flight": 0,
        }.items()
    )
    assert (asleep["state"], asleep["owner_address"]) == ("asleep", "")
    assert (created["state"], created["client_name"]) == ("created", "")
    assert live["create_time"] <= live["last_active_time"] < live["expire_time"]


@requirement("cli.sessions-list")
@pytest.mark.parametrize(
    ("words", "listed"),
    [
        (("--state", "asleep"), ["sleeper"]),
        (("--state", "live"), ["adas"]),
        (("--state", "created"), ["newcomer"]),
        (("--idle-for", "0.001"), ["sleeper", "adas", "newcomer"]),
        (("--idle-for", "86400"), []),
        (("--owner", "127.0.0.1:1"), []),
        (("--limit", "2"), ["sleeper", "adas"]),
        (("--limit", "1", "--state", "created"), ["newcomer"]),
        (("--limit", "9"), ["sleeper", "adas", "newcomer"]),
    ],
)
def test_flags_pick_sessions(few: str, words: tuple[str, ...], listed: list[str]) -> None:
    assert ids(*words, server=few) == listed


def test_sessions_of_one_owner_are_listed(few: str) -> None:
    assert ids("--owner", few, server=few) == ["adas", "newcomer"]


def test_no_sessions_are_said_to_be_none_and_leave_the_output_empty(target: str) -> None:
    assert sessions("list", server=target) == Told(0, [], ["no sessions"])
    assert sessions("list", "--state", "live", server=target) == Told(0, [], ["no such sessions"])
    assert sessions("list", "--json", server=target) == Told(0, [], [])


@requirement("cli.sessions-list")
def test_all_pages_are_walked_and_without_a_terminal_there_is_no_progress(crowd: str) -> None:
    listed = ids(server=crowd)
    assert len(listed) == len(set(listed)) == CROWD
    assert set(listed) == {f"one-of-the-crowd-{number:05}" for number in range(CROWD)}


def test_a_walk_with_small_pages_is_the_same_walk(few: str) -> None:
    async def walk(size: int) -> list[tuple[list[str], bool]]:
        async with SessionsClient(few, page_size=size) as client:
            return [
                ([s.session_id for s in page.sessions], page.more) async for page in client.pages()
            ]

    assert asyncio.run(walk(1)) == [(["sleeper"], True), (["adas"], True), (["newcomer"], False)]
    assert asyncio.run(walk(2)) == [(["sleeper", "adas"], True), (["newcomer"], False)]
    assert asyncio.run(walk(3)) == [(["sleeper", "adas", "newcomer"], False)]


def test_the_servers_may_be_a_list_of_which_some_are_down(few: str) -> None:
    assert len(ids(server=f"127.0.0.1:1,{few}")) == 3


def test_the_server_is_the_one_that_workers_are_told_of(few: str) -> None:
    told = sessions("list", env={"LINKSPAN_WORKER_SESSION": few})
    assert (told.status, len(told.output)) == (0, 4)
    wrong = {"LINKSPAN_WORKER_SESSION": "127.0.0.1:1"}
    assert sessions("list", server=few, env=wrong).status == 0


# --- show ------------------------------------------------------------------------------------------


def test_a_session_is_shown_one_thing_a_line(few: str) -> None:
    told = sessions("show", "adas", server=few)
    assert (told.status, told.errors) == (0, [])
    shown = dict(line.split("  ", 1) for line in told.output)
    assert {name: text.strip() for name, text in shown.items()}.items() >= {
        "id": "adas",
        "state": "live: a session server has it in memory",
        "principal": "ada",
        "issuer": ADA.issuer,
        "client": "peer 1",
        "owner": few,
        "requests running": "0",
    }.items()
    (row,) = rows("show", "adas", server=few)
    assert row in rows("list", server=few)


def test_a_session_that_has_ended_is_shown_until_its_record_goes(target: str) -> None:
    make(target, "-ended")
    assert sessions("end", "--yes", "-ended", server=target).status == 0
    told = sessions("show", "-ended", server=target)
    assert "state               ended: its client, or an operator, ended it" in told.output
    (line,) = [line for line in told.output if line.startswith("record kept until")]
    assert line.endswith("(in 4 min)"), "one that was never initialized is kept for minutes"
    assert sessions("list", "--json", server=target).output == []


# --- end -------------------------------------------------------------------------------------------


@requirement("cli.sessions-end")
def test_sessions_are_ended_by_their_ids_and_those_that_are_gone_are_counted(target: str) -> None:
    make(target, "one", "two", "three")
    assert sessions("end", "one", "two", "nobody", "one", "--yes", server=target) == Told(
        0, ["ended 2, gone already 1, failed 0"], []
    )
    assert ids(server=target) == ["three"]
    assert sessions("end", "two", "--yes", server=target).output == [
        "ended 0, gone already 1, failed 0"
    ]


def test_sessions_that_flags_pick_are_ended_and_no_others(target: str) -> None:
    make(target, *(f"created-{number}" for number in range(40)))
    ask(target, lambda service: open_session(service, "live"))
    told = sessions("end", "--all", "--state", "created", "--yes", server=target)
    assert told == Told(0, ["ended 40, gone already 0, failed 0"], [])
    assert ids(server=target) == ["live"]
    told = sessions("end", "--all", "--idle-for", "86400", "--yes", server=target)
    assert told == Told(0, ["ended 0, gone already 0, failed 0"], [])
    assert sessions("end", "--all", "--yes", server=target).status == 0
    assert ids(server=target) == []


@pytest.mark.parametrize("words", [("spared",), ("--all",)])
def test_without_a_terminal_and_without_yes_nothing_is_ended(
    few: str, words: tuple[str, ...]
) -> None:
    told = sessions("end", *words, server=few)
    assert (told.status, told.output) == (2, [])
    assert told.error == (
        "linkspan sessions: end asks first, and there is no terminal to ask on; add --yes to end"
    )
    assert len(ids(server=few)) == 3


@requirement("cli.sessions-end")
@pytest.mark.parametrize(
    ("words", "asked"), [(("--all",), "End 3 sessions at "), (("adas",), "End 1 session at ")]
)
@pytest.mark.parametrize("answer", ["n\n", "\n", "yess\n", "\x04"])
def test_what_is_not_confirmed_on_a_terminal_is_not_ended(
    few: str, words: tuple[str, ...], asked: str, answer: str
) -> None:
    with terminal("end", *words, "--server", few) as screen:
        screen.wait_for(f"{asked}{few}, for good? [y/N] ")
        screen.type(answer)
        told = screen.end()
    assert (told.status, told.output) == (1, [])
    assert told.errors[-1].endswith("linkspan sessions: nothing was ended")
    assert len(ids(server=few)) == 3


def test_what_is_confirmed_on_a_terminal_is_ended(target: str) -> None:
    make(target, "one", "two", "three")
    for words, answer, summary in (
        (("one",), "y\n", "ended 1, gone already 0, failed 0"),
        (("--all",), "Yes\n", "ended 2, gone already 0, failed 0"),
    ):
        with terminal("end", *words, "--server", target) as screen:
            screen.wait_for("[y/N] ")
            screen.type(answer)
            told = screen.end()
        assert (told.status, told.output) == (0, [summary])
    assert ids(server=target) == []


@requirement("cli.sessions-end")
def test_a_session_is_ended_wherever_it_is(tmp_path: Path) -> None:
    with session_server(tmp_path) as owner, session_server(tmp_path) as other:
        ask(owner, lambda service: open_session(service, "elsewhere"))
        (row,) = rows("list", server=other)
        assert (row["state"], row["owner_address"]) == ("live", owner)
        told = sessions("end", "elsewhere", "--yes", server=other)
        assert told == Told(0, ["ended 1, gone already 0, failed 0"], [])
        assert ids(server=owner) == []


def test_a_session_is_ended_whose_server_was_killed(tmp_path: Path) -> None:
    with session_server(tmp_path) as other:
        with linkspan(*server_command(tmp_path), "--lease", "3600") as owner:
            names = [f"orphan-{number}" for number in range(5)]
            make(owner.wait_ready()["grpc"], *names)
            owner.signal(signal.SIGKILL)
        assert len(ids("--state", "created", server=other)) == 5
        told = sessions("end", *names, "--yes", server=other)
        assert told == Told(0, ["ended 5, gone already 0, failed 0"], [])


def test_what_runs_is_shown_by_whichever_server_is_asked(tmp_path: Path) -> None:
    async def hold(service: Service) -> None:
        await open_session(service, "busy")
        post = Post(message=json.dumps(request("probe/hold", {"name": "busy"})))
        asked = HandleRequestRequest(session_id="busy", post=post)
        held = service.HandleRequest(asked, timeout=TIMEOUT_SECONDS)
        await held.initial_metadata()
        for server in (owner, other):
            (row,) = await asyncio.to_thread(rows, "show", "busy", server=server)
            assert row["requests_in_flight"] == 1
        held.cancel()

    with session_server(tmp_path) as owner, session_server(tmp_path) as other:
        ask(owner, hold)


# --- what goes wrong -------------------------------------------------------------------------------


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


@requirement("cli.sessions-errors")
def test_a_session_that_there_is_not_is_one_line(few: str) -> None:
    told = sessions("show", "nobody", server=few)
    assert (told.status, told.output) == (1, [])
    assert told.error == (
        "linkspan sessions: there is no such session; "
        "`linkspan sessions list` shows those that are open"
    )


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


# --- pipes and Ctrl-C ------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("--json",)])
@pytest.mark.parametrize("lines", [0, 1])
def test_a_closed_pipe_ends_it_quietly(crowd: str, words: tuple[str, ...], lines: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "linkspan_cli", "sessions", "list", "--server", crowd, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
        env=clean_environ(),
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(lines):
            assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(TIMEOUT_SECONDS) == 0


def test_a_disk_that_is_full_is_one_line(crowd: str) -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "linkspan_cli", "sessions", "list", "--server", crowd],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=clean_environ(),
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    assert process.returncode == 1
    assert process.stderr == "linkspan sessions: cannot write: No space left on device\n"


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


def test_ctrl_c_instead_of_an_answer_ends_nothing(few: str) -> None:
    with terminal("end", "--all", "--server", few) as screen:
        screen.wait_for("[y/N] ")
        screen.process.send_signal(signal.SIGINT)
        told = screen.end()
    assert (told.status, told.output) == (INTERRUPTED, [])
    assert "Traceback" not in screen.shown
    assert len(ids(server=few)) == 3


# --- progress --------------------------------------------------------------------------------------


def test_a_long_walk_shows_how_far_it_is_and_cleans_up(crowd: str) -> None:
    with terminal("list", "--json", "--server", crowd) as screen:
        told = screen.end()
    assert (told.status, len(told.output)) == (0, CROWD)
    assert f"\r{PAGE_SIZE} sessions, " in screen.shown
    assert "/s" in screen.shown
    assert last_of(screen.shown) == ""


def test_a_long_walk_for_a_few_shows_how_many_it_has_found(crowd: str) -> None:
    with terminal("list", "--state", "live", "--server", crowd) as screen:
        told = screen.end()
    assert (told.status, told.output) == (0, [])
    assert f"\r0 of {PAGE_SIZE} sessions, " in screen.shown
    assert told.errors[-1].endswith("no such sessions")


def test_a_walk_of_one_page_shows_no_progress(few: str) -> None:
    with terminal("list", "--server", few) as screen:
        told = screen.end()
    assert (told.status, len(told.output), screen.shown) == (0, 4, "")


def test_the_end_of_many_shows_how_far_it_is(target: str) -> None:
    make(target, *(f"one-of-many-{number}" for number in range(200)))
    with terminal("end", "--all", "--yes", "--server", target) as screen:
        told = screen.end()
    assert (told.status, told.output) == (0, ["ended 200, gone already 0, failed 0"])
    assert "\r1 of 200 sessions: ended 1, gone already 0, failed 0, " in screen.shown
    assert last_of(screen.shown) == ""


def test_rows_come_before_the_walk_is_over(tmp_path: Path) -> None:
    with linkspan(*server_command(tmp_path)) as server:
        target = server.wait_ready()["grpc"]
        make(target, *(f"early-{number:04}" for number in range(CROWD)))
        with terminal("list", "--json", "--server", target) as screen:
            assert screen.process.stdout is not None
            # The pipe holds less than a page, so the command cannot have asked for the third.
            assert screen.process.stdout.readline()
            server.signal(signal.SIGKILL)
            told = screen.end()
    assert told.status == 1
    assert PAGE_SIZE - 1 <= len(told.output) < CROWD - 1
    assert "linkspan sessions: no session server answers at " in screen.shown
