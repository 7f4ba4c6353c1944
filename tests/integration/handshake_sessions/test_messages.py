"""Messages in a session: what they are answered with, and what stops a request and what does not."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.integration.handshake_sessions.sessions import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    REQUEST_CANCELLED,
)
from tests.requirements import requirement
from tests.support.peer import Answer, Peer, notification, peer_of, request, session_at
from tests.support.stack import Stack

# --- messages --------------------------------------------------------------------------------------


@requirement("session.notification")
@pytest.mark.parametrize(
    "message",
    [
        notification("notifications/initialized"),
        notification("notifications/roots/list_changed"),
        notification("notifications/cancelled", {"requestId": "nothing runs under this"}),
        notification("notifications/cancelled"),
        notification("notifications/progress", {"progressToken": 1, "progress": "x"}),
        notification("no/such"),
        {"jsonrpc": "2.0", "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 99, "result": {}},
        {"jsonrpc": "2.0", "id": "x", "error": {"code": 1, "message": "m"}},
    ],
    ids=lambda message: str(message.get("method", "response")),
)
def test_a_notification_or_response_gets_202_and_no_body(
    session: Peer, message: dict[str, object]
) -> None:
    answer = session.post(message)
    assert (answer.status, answer.messages) == (202, [])
    assert session.call("add", a=1, b=1).status == 200


@requirement("session.method-unknown")
@pytest.mark.parametrize("method", ["no/such", "", "tools/List", "server/discover"])
def test_an_unknown_method_gets_its_code_with_status_200(session: Peer, method: str) -> None:
    answer = session.ask(method)
    assert (answer.status, answer.code) == (200, METHOD_NOT_FOUND)


@requirement("session.params-invalid")
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {}),
        ("tools/call", {"name": 7}),
        ("resources/read", {"uri": None}),
        ("prompts/get", {"arguments": {}}),
    ],
)
def test_invalid_params_get_their_code_with_status_200(
    session: Peer, method: str, params: dict[str, object]
) -> None:
    answer = session.ask(method, params)
    assert (answer.status, answer.code) == (200, INVALID_PARAMS)


# --- cancelling and leaving ------------------------------------------------------------------------


@requirement("session.disconnect")
def test_a_disconnect_does_not_cancel(probe: Stack, prober: Peer) -> None:
    name = "left alone"
    with (
        peer_of(probe.mcp, session_id=prober.session_id) as leaver,
        leaver.stream(request("probe/hold", {"name": name})) as stream,
    ):
        stream.comment()
    prober.ask("probe/release", {"name": name})
    assert prober.ask("probe/seen", {"name": name, "mark": "finished"}).result == {}
    marked = prober.ask("probe/is_marked", {"name": name, "mark": "cancelled"})
    assert marked.result == {"marked": False}


@requirement("session.cancelled")
@pytest.mark.parametrize(("id", "cancelled"), [(5, 5), ("a", "a"), (5, "5"), (10**30, 10**30)])
def test_notifications_cancelled_stops_the_request(
    prober: Peer,
    probe: Stack,
    id: object,  # noqa: A002 - JSON-RPC's word
    cancelled: object,
) -> None:
    name = f"stopped {id!r} {cancelled!r}"
    with (
        prober.stream(request("probe/hold", {"name": name}, id=id)) as stream,
        peer_of(probe.mcp, session_id=prober.session_id) as other,
    ):
        other.ask("probe/seen", {"name": name, "mark": "started"})
        cancel = notification("notifications/cancelled", {"requestId": cancelled, "reason": "r"})
        assert other.post(cancel).status == 202
        answer = stream.rest()
        assert (answer.code, answer.final["id"]) == (REQUEST_CANCELLED, id)
        assert other.ask("probe/seen", {"name": name, "mark": "cancelled"}).result == {}


@requirement("session.cancelled")
@pytest.mark.parametrize("other_id", [2, True, None, [1], 1.5])
def test_cancelling_another_id_stops_nothing(prober: Peer, probe: Stack, other_id: object) -> None:
    name = f"not stopped {other_id!r}"
    with (
        prober.stream(request("probe/hold", {"name": name}, id=1)) as stream,
        peer_of(probe.mcp, session_id=prober.session_id) as other,
    ):
        other.ask("probe/seen", {"name": name, "mark": "started"})
        cancel = notification("notifications/cancelled", {"requestId": other_id})
        assert other.post(cancel).status == 202
        other.ask("probe/release", {"name": name})
        assert stream.rest().result == {"held": name}


@requirement("session.cancelled")
def test_cancelling_reaches_no_other_session(prober: Peer, probe: Stack) -> None:
    name = "mine"
    with (
        prober.stream(request("probe/hold", {"name": name}, id=1)) as stream,
        session_at(probe.mcp) as stranger,
    ):
        stranger.ask("probe/seen", {"name": name, "mark": "started"})
        stranger.post(notification("notifications/cancelled", {"requestId": 1}))
        stranger.ask("probe/release", {"name": name})
        assert stream.rest().result == {"held": name}


@requirement("session.cancelled")
def test_a_handler_that_swallows_its_cancellation_is_answered_for(
    prober: Peer, probe: Stack
) -> None:
    name = "stubborn"
    with (
        prober.stream(request("probe/stubborn", {"name": name}, id=1)) as stream,
        peer_of(probe.mcp, session_id=prober.session_id) as other,
    ):
        other.ask("probe/seen", {"name": name, "mark": "started"})
        other.post(notification("notifications/cancelled", {"requestId": 1}))
        assert other.ask("probe/seen", {"name": name, "mark": "cancelled"}).result == {}
        other.ask("probe/release", {"name": name})
        assert stream.rest().code == REQUEST_CANCELLED


@requirement("session.equal-ids")
def test_concurrent_requests_with_equal_ids_get_each_its_own_answer(
    prober: Peer, probe: Stack
) -> None:
    names = [f"equal {number}" for number in range(8)]

    def hold(name: str) -> Answer:
        with peer_of(probe.mcp, session_id=prober.session_id) as each:
            return each.post(request("probe/hold", {"name": name}, id="same"))

    with ThreadPoolExecutor(len(names)) as threads:
        answers = [threads.submit(hold, name) for name in names]
        for name in names:
            prober.ask("probe/seen", {"name": name, "mark": "started"})
        for name in reversed(names):
            prober.ask("probe/release", {"name": name})
        assert [each.result(timeout=30).result["held"] for each in answers] == names


@requirement("session.ended")
def test_ending_a_session_ends_what_it_runs(prober: Peer, probe: Stack) -> None:
    name = "ended"
    with (
        prober.stream(request("probe/hold", {"name": name})) as call,
        peer_of(probe.mcp, session_id=prober.session_id) as other,
        other.listen() as listening,
        session_at(probe.mcp) as witness,
    ):
        witness.ask("probe/seen", {"name": name, "mark": "started"})
        with peer_of(probe.mcp, session_id=prober.session_id) as ender:
            assert ender.end().status == 200
        answer = call.rest()
        assert (answer.code, answer.status) == (CONNECTION_CLOSED, 200)
        assert listening.rest().messages == []
        assert witness.ask("probe/seen", {"name": name, "mark": "cancelled"}).result == {}
