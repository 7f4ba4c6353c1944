"""`linkspan sessions list` and `show`: which sessions they tell of, and what."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.integration.sessions_command.commands import (
    ADA,
    Told,
    ask,
    ids,
    make,
    open_session,
    rows,
    session_server,
    sessions,
)
from tests.integration.sessions_command.terminals import terminal
from tests.requirements import requirement
from tests.support.peer import request
from tests.support.session_calls import TIMEOUT_SECONDS, Service

from linkspan.session.v1.session_service_pb2 import HandleRequestRequest, Post
from linkspan_cli.sessions.client import SessionsClient

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


def test_a_walk_of_one_page_shows_no_progress(few: str) -> None:
    with terminal("list", "--server", few) as screen:
        told = screen.end()
    assert (told.status, len(told.output), screen.shown) == (0, 4, "")


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


@requirement("cli.sessions-errors")
def test_a_session_that_there_is_not_is_one_line(few: str) -> None:
    told = sessions("show", "nobody", server=few)
    assert (told.status, told.output) == (1, [])
    assert told.error == (
        "linkspan sessions: there is no such session; "
        "`linkspan sessions list` shows those that are open"
    )
