"""kill -9 of session servers and workers: sessions go on elsewhere, and nothing is lost or doubled."""

import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import httpx2
import pytest
from tests.faults.scene import (
    INITIALIZED,
    LOST,
    ROOT,
    VERSION,
    Scene,
    ask,
    error_of,
    final,
    initialize,
    messages_of,
    result_of,
    said,
    scene,
    structured,
)
from tests.faults.stores import KINDS, store_of
from tests.requirements import requirement
from tests.support.mcp_http import HttpSession, SseEvent, call
from tests.support.waiting import BUSY_SECONDS, wait_until

PROMPT_SECONDS = 5.0 + BUSY_SECONDS
"""Within which a request is answered, whatever was killed: 5 s are what clients are promised."""

LONG_LEASE = ("--lease", "60")
"""So long that nobody who waits for its end is prompt."""


def count_of(session: HttpSession) -> int:
    stored: dict[str, int] = ask(session, "read")["stored"]
    return stored.get("count", 0)


def taken_over(played: Scene, session: HttpSession, dead_pid: int) -> None:
    """Check that a session is served by another process than the one that is dead, for good."""
    assert ask(session, "increment")["pid"] != dead_pid


@requirement("session.survives-kill")
@pytest.mark.parametrize("kind", KINDS)
def test_after_kill_9_of_the_owner_the_next_request_is_served_elsewhere_with_all_there_is(
    tmp_path: Path, kind: str
) -> None:
    with (
        store_of(kind, tmp_path) as store,
        scene(store, tmp_path, servers=3, session_arguments=LONG_LEASE) as played,
    ):
        worker = played.fleet.add_worker()
        with played.session(worker) as session:
            counted = [ask(session, "increment") for _ in range(3)]
            for killed in range(2):
                played.kill(played.server(counted[-1]["pid"]))
                began = time.monotonic()
                # Harmless: what leaves before the worker has noticed is in doubt, else, and told so.
                assert count_of(session) == len(counted)
                assert time.monotonic() - began < PROMPT_SECONDS
                counted.append(ask(session, "increment"))
                assert counted[-1]["pid"] not in played.killed, killed
            assert [each["count"] for each in counted] == [1, 2, 3, 4, 5]


@requirement("session.run-once")
@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_call_that_its_server_dies_in_ends_in_one_error_and_the_session_works_on(
    tmp_path: Path, kind: str
) -> None:
    with store_of(kind, tmp_path) as store, scene(store, tmp_path) as played:
        worker = played.fleet.add_worker()
        with played.session(worker) as session:
            assert ask(session, "increment")["count"] == 1
            answer = played.post_later(session, "work", {"name": "plain"})
            dead = played.wait_begun("plain")
            played.kill(played.server(dead))
            assert error_of(answer.result(PROMPT_SECONDS)) == LOST
            assert ask(session, "increment")["count"] == 2
            taken_over(played, session, dead)
            assert played.runs("plain") == [dead]


@requirement("session.run-once")
@pytest.mark.parametrize("tool", ["work_idempotently", "look"])
def test_a_harmless_call_that_its_server_dies_in_runs_elsewhere_in_the_same_response(
    tmp_path: Path, tool: str
) -> None:
    with store_of("sqlite", tmp_path) as store, scene(store, tmp_path) as played:
        worker = played.fleet.add_worker()
        with played.session(worker) as session:
            answer = played.post_later(session, tool, {"name": "harmless"})
            dead = played.wait_begun("harmless")
            played.kill(played.server(dead))
            heir = played.wait_begun("harmless", times=2)
            assert heir != dead
            played.let_go("harmless")
            response = answer.result(PROMPT_SECONDS)
            assert result_of(response) == {"pid": heir}
            assert played.runs("harmless") == [dead, heir]
            spans = played.trace_of(response)  # whose wholeness is looked at in the end
            (root,) = (span for span in spans if span.name == ROOT)
            assert "linkspan.resend" in {event.name for event in root.events}
            if tool == "work_idempotently":
                assert played.outcomes("harmless") == [f"{heir} wrote"]
                assert ask(session, "read")["stored"] == {"harmless": heir}


@requirement("session.result-again")
def test_a_result_that_was_committed_and_not_heard_of_is_returned_and_not_made_again(
    tmp_path: Path,
) -> None:
    with store_of("sqlite", tmp_path) as store, scene(store, tmp_path) as played:
        worker = played.fleet.add_worker()
        with played.session(worker) as session:
            assert ask(session, "increment")["count"] == 1
            played.kill_at_next_commit()
            counted = ask(session, "increment_with_answer", {"name": "once"})
            dead = counted["pid"]
            assert played.wait_killed().process.pid == dead
            assert counted["count"] == 2
            assert played.runs("once") == [dead]
            assert count_of(session) == 2
            taken_over(played, session, dead)


@requirement("storage.atomic")
def test_what_a_block_committed_stays_if_the_server_dies_before_the_answer(tmp_path: Path) -> None:
    with store_of("sqlite", tmp_path) as store, scene(store, tmp_path) as played:
        worker = played.fleet.add_worker()
        with played.session(worker) as session:
            assert ask(session, "increment")["count"] == 1
            played.kill_at_next_commit()
            assert error_of(session.post(call("increment"))) == LOST
            dead = played.wait_killed().process.pid
            assert count_of(session) == 2  # nobody knew how far it got, which is what was said
            taken_over(played, session, dead)


# --- streams -------------------------------------------------------------------------------------


@requirement("session.stream-goes-on", "session.run-once")
def test_a_stream_of_a_harmless_call_goes_on_with_its_answer_when_its_server_dies(
    tmp_path: Path,
) -> None:
    with store_of("sqlite", tmp_path) as store, scene(store, tmp_path) as played:
        worker = played.fleet.add_worker()
        with played.session(worker) as session:
            work = call("work_idempotently", {"name": "stream", "steps": 3})
            with session.stream(work) as events:
                before = [next(events) for _ in range(4)]
                dead = played.wait_begun("stream")
                played.kill(played.server(dead))
                heir = played.wait_begun("stream", times=2)
                played.let_go("stream")
                rest = list(events)
            assert [each["params"]["progress"] for each in said(before)] == [1, 2, 3]
            assert structured(final(said(rest))) == {"pid": heir}
            check_ids(before + rest)


@requirement("session.run-once")
def test_a_stream_of_a_plain_call_ends_in_one_error_when_its_server_dies(tmp_path: Path) -> None:
    with store_of("sqlite", tmp_path) as store, scene(store, tmp_path) as played:
        worker = played.fleet.add_worker()
        with played.session(worker) as session:
            with session.stream(call("work", {"name": "stream", "steps": 3})) as events:
                before = [next(events) for _ in range(4)]
                dead = played.wait_begun("stream")
                played.kill(played.server(dead))
                rest = list(events)
            assert [each["error"]["code"] for each in said(rest)] == [LOST]
            check_ids(before + rest)
            assert played.runs("stream") == [dead]
            taken_over(played, session, dead)
            with session.listen(before[-1].id) as events:  # and whoever comes back hears it again
                again = list(events)
            assert said(again) == said(rest)


@requirement("session.run-once")
def test_a_stream_that_nobody_carried_on_in_time_is_resumed_without_running_it_again(
    tmp_path: Path,
) -> None:
    """It just ends; whoever comes back is told that nobody knows, of a harmless call as well."""
    with (
        store_of("sqlite", tmp_path) as store,
        scene(store, tmp_path, servers=1) as played,
    ):
        worker = played.fleet.add_worker("--retry-for", "0.5")
        with played.session(worker) as session:
            work = call("work_idempotently", {"name": "stream", "steps": 3})
            (server,) = played.fleet.servers
            with session.stream(work) as events:
                before = [next(events) for _ in range(4)]
                dead = played.wait_begun("stream")
                played.kill(server)
                assert not list(events)
            played.fleet.restart(server)
            with session.listen(before[-1].id) as events:
                rest = list(events)
            assert [each["error"]["code"] for each in said(rest)] == [LOST]
            assert played.runs("stream") == [dead]


@requirement("session.stream-goes-on")
def test_a_listening_stream_goes_on_and_says_what_is_said_after_its_server_died(
    tmp_path: Path,
) -> None:
    with store_of("sqlite", tmp_path) as store, scene(store, tmp_path) as played:
        worker, other = played.fleet.add_worker(), played.fleet.add_worker()
        with played.session(worker) as session, session.listen() as events:
            primed = next(events)
            dead = announce(session, "test://1")
            first = next(events)
            played.kill(played.server(dead))
            ask(session, "read")  # harmless: it may leave before the death is noticed
            assert announce(session, "test://2") != dead
            second = next(event for event in events if event.data)
            assert [first.json["params"]["uri"], second.json["params"]["uri"]] == [
                "test://1",
                "test://2",
            ]
            # Another worker knows nothing of any of that, and gives the same.
            session.address = other
            with session.listen(primed.id) as resumed:
                heard = [next(event for event in resumed if event.data) for _ in range(2)]
            assert heard == [first, second]


@requirement("session.stream-goes-on")
def test_a_client_comes_back_through_another_worker_for_a_stream_whose_server_died(
    tmp_path: Path,
) -> None:
    with store_of("sqlite", tmp_path) as store, scene(store, tmp_path) as played:
        worker, other = played.fleet.add_worker(), played.fleet.add_worker()
        with played.session(worker) as session:
            with session.stream(call("work", {"name": "done", "steps": 3})) as events:
                seen = [next(events) for _ in range(3)]
                played.let_go("done")
                rest = list(events)
            played.kill(played.server(played.runs("done")[0]))
            session.address = other
            with session.listen(seen[-1].id) as events:
                again = list(events)
            assert [event for event in again if event.data] == rest


def announce(session: HttpSession, uri: str) -> int:
    pid: int = ask(session, "announce", {"uri": uri})["pid"]
    return pid


# --- workers -------------------------------------------------------------------------------------


@requirement("session.stream-goes-on")
def test_after_kill_9_of_a_worker_the_client_gets_the_rest_through_another_and_nothing_twice(
    tmp_path: Path,
) -> None:
    with store_of("sqlite", tmp_path) as store, scene(store, tmp_path) as played:
        worker, other = played.fleet.add_worker(), played.fleet.add_worker()
        with played.session(worker) as session:
            with session.stream(call("work", {"name": "stream", "steps": 4})) as events:
                before = [next(events) for _ in range(3)]
                played.kill_worker(worker)
                with pytest.raises(httpx2.TransportError):
                    before += list(events)
            session.address = other
            with session.listen(before[-1].id) as events:
                rest = [next(events)]
                played.let_go("stream")
                rest += list(events)
            check_ids(before + rest)
            messages = said(before) + said(rest)
            assert [each["params"]["progress"] for each in messages[:-1]] == [1, 2, 3, 4]
            (pid,) = played.runs("stream")
            assert structured(final(messages)) == {"pid": pid}
            assert ask(session, "read")["stored"] == {"stream": pid}


def check_ids(events: list[SseEvent]) -> None:
    """Check that no event came twice."""
    ids = [event.id for event in events if event.data and event.id]
    assert len(ids) == len(set(ids)), ids


# --- handshakes ----------------------------------------------------------------------------------


@requirement("session.survives-kill")
def test_every_handshake_that_a_server_dies_in_is_answered_or_refused_and_none_is_half(
    tmp_path: Path,
) -> None:
    with store_of("sqlite", tmp_path) as store, scene(store, tmp_path, servers=3) as played:
        worker = played.fleet.add_worker()
        with played.client() as http:
            opening = [played.threads.submit(initialize, http, worker) for _ in range(40)]
            wait_until(lambda: sum(each.done() for each in opening) > 4, "some sessions")
            played.kill(played.fleet.servers[0])
            wait_until(lambda: sum(each.done() for each in opening) > 20, "more sessions")
            played.kill(played.fleet.servers[1])
            opened = [use(http, worker, each) for each in opening]
            assert sum(opened) > 20, "most are opened all the same"


@requirement("session.result-again")
def test_a_handshake_that_is_on_record_and_was_not_heard_of_opens_the_session(
    tmp_path: Path,
) -> None:
    with store_of("sqlite", tmp_path) as store, scene(store, tmp_path) as played:
        worker = played.fleet.add_worker()
        with played.client() as http:
            played.kill_at_next_commit()
            response = initialize(http, worker)
            played.wait_killed()
            assert response.status_code == 200, response.text
            use_session(http, worker, response)


def use(http: httpx2.Client, worker: str, opening: "Future[httpx2.Response]") -> bool:
    """Use what an `initialize` has opened, if it has; else check that it says what to do."""
    response = opening.result(PROMPT_SECONDS * 2)
    if response.status_code == 200:
        use_session(http, worker, response)
        return True
    assert response.status_code == 503, response.text
    assert response.headers["retry-after"] == "1"
    assert "mcp-session-id" not in response.headers
    use_session(http, worker, initialize(http, worker))
    return False


def use_session(http: httpx2.Client, worker: str, response: httpx2.Response) -> None:
    assert final(messages_of(response))["result"]["protocolVersion"] == VERSION
    session = HttpSession(http, worker, response.headers["mcp-session-id"], VERSION)
    assert session.post(INITIALIZED).status_code == 202
    assert ask(session, "increment")["count"] == 1


# --- a single server -----------------------------------------------------------------------------


@requirement("session.restart")
def test_requests_meanwhile_are_answered_when_the_only_server_is_back_or_refused(
    tmp_path: Path,
) -> None:
    lease = ("--lease", "60")  # that of the run before is not what is waited for
    with (
        store_of("sqlite", tmp_path) as store,
        scene(store, tmp_path, servers=1, session_arguments=lease) as played,
    ):
        worker = played.fleet.add_worker()
        with played.session(worker) as session, played.session(worker) as other:
            (server,) = played.fleet.servers
            for each in (session, other):
                assert ask(each, "increment")["count"] == 1
            played.kill(server)
            waiting = [
                played.post_later(each, "increment", {})
                for each in (session, other)
                for _ in range(3)
            ]
            played.fleet.restart(server)
            responses = [each.result(PROMPT_SECONDS * 2) for each in waiting]
            answered = [each for each in responses if each.status_code == 200]
            for response in responses:
                if response not in answered:
                    assert response.status_code == 503, response.text
                    assert response.headers["retry-after"] == "1"
            served = partial(is_served, session)
            wait_until(served, "the session to be served again", seconds=PROMPT_SECONDS)
            assert count_of(session) + count_of(other) == 2 + len(answered)
            assert all(result_of(response)["count"] > 1 for response in answered)


def is_served(session: HttpSession) -> bool:
    return session.post(call("read")).status_code == 200
