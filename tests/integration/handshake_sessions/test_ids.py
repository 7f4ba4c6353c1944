"""Whatever is said without the id of an open session is refused: 400 without one, 404 with another."""

from collections.abc import Callable

import pytest
from tests.integration.handshake_sessions.sessions import INVALID_REQUEST, ids_on_record
from tests.requirements import requirement
from tests.support.peer import INITIALIZE, Answer, Peer, notification, peer_of
from tests.support.stack import Stack

Speaking = Callable[[Peer], Answer]


def speak_request(peer: Peer) -> Answer:
    return peer.ask("tools/list")


def speak_notification(peer: Peer) -> Answer:
    return peer.post(notification("notifications/initialized"))


def speak_response(peer: Peer) -> Answer:
    return peer.post({"jsonrpc": "2.0", "id": 1, "result": {}})


def speak_listen(peer: Peer) -> Answer:
    return peer.send("GET")


def speak_delete(peer: Peer) -> Answer:
    return peer.end()


WAYS_TO_SPEAK = pytest.mark.parametrize(
    "speak", [speak_request, speak_notification, speak_response, speak_listen, speak_delete]
)


@requirement("session.missing-id")
@WAYS_TO_SPEAK
def test_without_a_session_id_it_is_400(peer: Peer, speak: Speaking) -> None:
    answer = speak(peer)
    assert (answer.status, answer.code) == (400, INVALID_REQUEST)
    assert "mcp-session-id" not in answer.headers


@requirement("session.unknown")
@WAYS_TO_SPEAK
def test_an_unknown_session_is_404(stack: Stack, speak: Speaking) -> None:
    with peer_of(stack.mcp, session_id="no-such-session") as peer:
        answer = speak(peer)
    assert (answer.status, answer.code) == (404, INVALID_REQUEST)
    assert answer.error["message"] == "Session not found"
    assert "mcp-session-id" not in answer.headers


@requirement("session.unknown")
def test_initialize_with_a_stale_id_is_404(stack: Stack) -> None:
    with peer_of(stack.mcp, session_id="stale") as peer:
        answer = peer.ask("initialize", INITIALIZE)
    assert (answer.status, answer.code) == (404, INVALID_REQUEST)


@requirement("session.bad-id")
@pytest.mark.parametrize("session_id", ["", "a b", "x" * 129, "\xe9"])
@WAYS_TO_SPEAK
def test_an_id_that_no_session_can_have_is_404(
    stack: Stack, session_id: str, speak: Speaking
) -> None:
    with peer_of(stack.mcp, session_id=session_id) as peer:
        answer = speak(peer)
    assert (answer.status, answer.code) == (404, INVALID_REQUEST)


@requirement("session.bad-id")
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_two_ids_that_differ_are_400(stack: Stack, session: Peer, method: str) -> None:
    assert session.session_id is not None
    headers = [
        ("content-type", "application/json"),
        ("mcp-session-id", session.session_id),
        ("mcp-session-id", "another"),
    ]
    body = b'{"jsonrpc":"2.0","id":7,"method":"ping"}'
    response = session.http.request(method, stack.mcp, content=body, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (400, INVALID_REQUEST)


@requirement("session.ended")
@WAYS_TO_SPEAK
def test_an_ended_session_is_404(stack: Stack, session: Peer, speak: Speaking) -> None:
    answer = session.end()
    assert (answer.status, answer.messages) == (200, [])
    assert session.session_id not in ids_on_record(stack)
    assert speak(session).status == 404
