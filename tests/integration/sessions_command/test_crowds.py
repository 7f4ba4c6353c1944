"""`linkspan sessions` among many: page by page as they come, with progress, into pipes that close."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.integration.sessions_command.commands import ids, make, server_command, session_server
from tests.integration.sessions_command.terminals import last_of, terminal
from tests.requirements import requirement
from tests.support.processes import REPOSITORY, clean_environ, linkspan
from tests.support.session_calls import TIMEOUT_SECONDS

from linkspan_cli.sessions.client import PAGE_SIZE

CROWD: Final = 2 * PAGE_SIZE + 20


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A session server with three pages of sessions; nobody ends any."""
    with session_server(tmp_path_factory.mktemp("crowd")) as target:
        make(target, *(f"one-of-the-crowd-{number:05}" for number in range(CROWD)))
        yield target


@requirement("cli.sessions-list")
def test_all_pages_are_walked_and_without_a_terminal_there_is_no_progress(crowd: str) -> None:
    listed = ids(server=crowd)
    assert len(listed) == len(set(listed)) == CROWD
    assert set(listed) == {f"one-of-the-crowd-{number:05}" for number in range(CROWD)}


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
