"""`linkspan sessions end`: what it asks before, and which sessions it ends, wherever they are."""

import signal
from pathlib import Path

import pytest
from tests.integration.sessions_command.commands import (
    INTERRUPTED,
    Told,
    ask,
    ids,
    make,
    open_session,
    rows,
    server_command,
    session_server,
    sessions,
)
from tests.integration.sessions_command.terminals import terminal
from tests.requirements import requirement
from tests.support.processes import linkspan


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
    make(target, "alpha", "beta", "gamma")
    for words, answer, summary in (
        (("alpha",), "y\n", "ended 1, gone already 0, failed 0"),
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


def test_ctrl_c_instead_of_an_answer_ends_nothing(few: str) -> None:
    with terminal("end", "--all", "--server", few) as screen:
        screen.wait_for("[y/N] ")
        screen.interrupt()
        told = screen.end()
    assert (told.status, told.output) == (INTERRUPTED, [])
    assert "Traceback" not in screen.shown
    assert len(ids(server=few)) == 3
