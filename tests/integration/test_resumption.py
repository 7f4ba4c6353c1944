"""Streams that survive their connection: ids, priming, replay, and nothing of another stream."""

import signal
from pathlib import Path

import pytest
from tests.requirements import requirement
from tests.support.mcp_http import HttpSession, SseEvent, call, http_session
from tests.support.processes import EVERYTHING, linkspan
from tests.support.stack import Stack, running_stack
from tests.support.waiting import wait_until

COUNT = call("count", {"to": 5, "every_seconds": 0.02})


def texts(events: list[SseEvent]) -> list[str]:
    """Show what messages say: a progress message, or the text of the result."""
    shown: list[str] = []
    for event in events:
        if not event.data:
            continue
        message = event.json
        if "params" in message:
            shown.append(str(message["params"]["message"]))
        else:
            shown.append(str(message["result"]["content"][0]["text"]))
    return shown


ALL = ["1 of 5", "2 of 5", "3 of 5", "4 of 5", "5 of 5", "Counted to 5."]


@requirement("resume.ids")
def test_a_stream_opens_with_a_priming_event_and_every_event_has_its_own_id(stack: Stack) -> None:
    with http_session(stack.mcp) as session, session.stream(COUNT) as events:
        seen = list(events)
    assert seen[0].data == ""
    assert seen[0].retry_millis == 1000
    assert texts(seen) == ALL
    ids = [event.id for event in seen]
    assert all(ids)
    assert len(set(ids)) == len(ids)


@requirement("resume.ids")
@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18"])
def test_versions_without_priming_events_get_ids_but_no_priming(stack: Stack, version: str) -> None:
    with http_session(stack.mcp, version) as session, session.stream(COUNT) as events:
        seen = list(events)
    assert all(event.data and event.id for event in seen)
    assert texts(seen) == ALL


@requirement("resume.replay")
def test_a_broken_stream_goes_on_behind_the_last_event_that_was_seen(stack: Stack) -> None:
    with http_session(stack.mcp) as session:
        before = broken_off(session, after=3)
        with session.listen(before[-1].id) as events:
            rest = list(events)
    assert texts(before) + texts(rest) == ALL


@requirement("resume.replay")
def test_a_finished_stream_can_be_read_again_as_often_as_one_likes(stack: Stack) -> None:
    with http_session(stack.mcp) as session:
        with session.stream(COUNT) as events:
            seen = list(events)
        for _ in range(2):
            with session.listen(seen[2].id) as events:
                assert texts(list(events)) == ALL[2:]


@requirement("resume.replay")
def test_a_resumed_stream_holds_nothing_of_another(stack: Stack) -> None:
    with http_session(stack.mcp) as session:
        one, other = broken_off(session, after=2), broken_off(session, after=3)
        with session.listen(one[-1].id) as events:
            assert texts(one) + texts(list(events)) == ALL
        with session.listen(other[-1].id) as events:
            assert texts(other) + texts(list(events)) == ALL


@requirement("resume.silent-call")
def test_a_silent_call_opens_its_stream_so_that_its_answer_is_not_lost(stack: Stack) -> None:
    with http_session(stack.mcp) as session:
        with session.stream(call("sleep", {"seconds": 1.6})) as events:
            priming = next(events)
        assert priming.data == ""
        with session.listen(priming.id) as events:
            assert texts(list(events)) == ["Slept for 1.6 s."]


@requirement("resume.close-on-purpose")
def test_a_handler_closes_its_stream_on_purpose_and_the_client_comes_back(stack: Stack) -> None:
    with http_session(stack.mcp) as session:
        with session.stream(call("test_reconnection")) as events:
            before = list(events)
        assert [event.data for event in before if '"result"' in event.data] == []
        with session.listen(before[-1].id) as events:
            after = list(events)
    assert '"result"' in after[-1].data


@requirement("resume.listening")
def test_what_was_said_while_nobody_listened_is_heard_after_coming_back(stack: Stack) -> None:
    with http_session(stack.mcp) as session:
        with session.listen() as events:
            last_seen = next(events).id
        subscribe = {"uri": "test://watched-resource"}
        answer = session.post(
            {"jsonrpc": "2.0", "id": 7, "method": "resources/subscribe", "params": subscribe}
        )
        assert "result" in answer.json()
        session.post(call("touch_watched_resource"))
        with session.listen(last_seen) as events:
            next(events)  # the priming event
            update = next(events)
    assert update.json["method"] == "notifications/resources/updated"


@requirement("resume.unknown-event")
@pytest.mark.parametrize(
    "event_id", ["garbage", "no-such-stream.1", ".", "x.-1", "x.99999999999999999", "\u00e9.1"]
)
def test_an_event_id_that_nobody_gave_is_refused(stack: Stack, event_id: str) -> None:
    with http_session(stack.mcp) as session:
        assert refused(session, event_id)


@requirement("resume.unknown-event")
def test_an_event_id_of_another_session_is_refused(stack: Stack) -> None:
    with http_session(stack.mcp) as mine, http_session(stack.mcp) as other:
        with other.stream(COUNT) as events:
            seen = list(events)
        assert refused(mine, seen[1].id)
        with other.listen() as events:
            listening = next(events)
        assert refused(mine, listening.id)


@requirement("resume.unknown-event")
def test_an_event_id_that_is_still_to_come_is_refused(stack: Stack) -> None:
    with http_session(stack.mcp) as session:
        with session.stream(COUNT) as events:
            last = list(events)[-1].id
        stream, _, number = last.rpartition(".")
        assert refused(session, f"{stream}.{int(number) + 1}")


@requirement("resume.restart")
def test_after_kill_9_a_stream_is_read_on_and_an_unfinished_one_ends_in_one_error(
    tmp_path: Path,
) -> None:
    # The worker gives up before the session server is back: else it would have the count run again.
    impatient = ("--retry-for", "0.5")
    with (
        running_stack(tmp_path, worker_arguments=impatient) as stack,
        http_session(stack.mcp) as session,
    ):
        with session.stream(COUNT) as events:
            finished = list(events)
        with session.stream(call("count", {"to": 1000, "every_seconds": 0.05})) as events:
            unfinished = [next(events) for _ in range(3)]
            stack.session.signal(signal.SIGKILL)
            stack.session.wait()
        address = stack.grpc.rpartition(":")[2]
        command = ("session", "--app", EVERYTHING, "--port", address, "--data", str(tmp_path))
        with linkspan(*command) as restarted:
            restarted.wait_ready()
            wait_until_served(session)
            with session.listen(finished[1].id) as events:
                assert texts(list(events)) == ALL[1:]
            with session.listen(unfinished[-1].id) as events:
                rest = list(events)
    assert rest[-1].json["id"] == 1
    assert rest[-1].json["error"]["code"] == -32000


def broken_off(session: HttpSession, *, after: int) -> list[SseEvent]:
    """Begin a count and break the connection after some events, the priming event among them."""
    with session.stream(COUNT) as events:
        return [next(events) for _ in range(after)]


def refused(session: HttpSession, event_id: str) -> bool:
    headers = [
        *((name.encode(), value.encode()) for name, value in session.headers.items()),
        (b"last-event-id", event_id.encode()),
    ]
    response = session.http.get(session.address, headers=headers)
    return response.status_code == 400 and response.json()["error"]["code"] == -32600


def wait_until_served(session: HttpSession) -> None:
    """Ask until the worker has found the session server again, which its 503 promises."""

    def is_served() -> bool:
        response = session.post({"jsonrpc": "2.0", "id": 5, "method": "ping"})
        if response.status_code == 200:
            return True
        assert response.status_code == 503, response.text
        assert response.headers["retry-after"] == "1"
        return False

    wait_until(is_served, "the worker to find the session server again")
