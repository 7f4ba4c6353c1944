"""What a server says by itself in a session, and what it asks its client."""

from concurrent.futures import ThreadPoolExecutor

from tests.integration.handshake_sessions.sessions import INVALID_REQUEST
from tests.requirements import requirement
from tests.support.peer import Peer, peer_of, request, session_at
from tests.support.stack import Stack


@requirement("session.listen")
def test_what_the_server_says_by_itself_comes_on_the_listening_stream(
    prober: Peer, probe: Stack
) -> None:
    with (
        prober.listen() as listening,
        peer_of(probe.mcp, session_id=prober.session_id) as other,
    ):
        assert listening.response.status_code == 200
        for uri in ("test://one", "test://two"):
            assert not other.ask("probe/announce", {"text": uri}).is_stream
            assert listening.next() == {
                "jsonrpc": "2.0",
                "method": "notifications/resources/updated",
                "params": {"uri": uri},
            }


@requirement("session.listen")
def test_a_newer_listening_stream_replaces_the_older(prober: Peer, probe: Stack) -> None:
    with (
        prober.listen() as older,
        peer_of(probe.mcp, session_id=prober.session_id) as other,
        other.listen() as newer,
    ):
        assert older.rest().messages == []
        with peer_of(probe.mcp, session_id=prober.session_id) as third:
            third.ask("probe/announce", {"text": "test://new"})
        assert newer.next()["params"] == {"uri": "test://new"}


@requirement("session.listen")
def test_nothing_is_said_to_another_session(prober: Peer, probe: Stack) -> None:
    with session_at(probe.mcp) as stranger, prober.listen() as listening:
        stranger.ask("probe/announce", {"text": "test://private"})
        with peer_of(probe.mcp, session_id=prober.session_id) as other:
            other.ask("probe/announce", {"text": "test://mine"})
        assert listening.next()["params"] == {"uri": "test://mine"}


@requirement("session.server-asks")
def test_a_question_on_the_stream_of_a_call_finds_its_answer_in_another_post(
    prober: Peer, probe: Stack
) -> None:
    with (
        prober.stream(request("probe/ask", {"text": "your name?"}, id="call")) as stream,
        peer_of(probe.mcp, session_id=prober.session_id) as other,
    ):
        question = stream.next()
        assert question["method"] == "elicitation/create"
        assert question["params"]["message"] == "your name?"
        stray = {"jsonrpc": "2.0", "id": 999, "result": {"action": "decline"}}
        assert other.post(stray).status == 202
        with session_at(probe.mcp) as stranger:
            reply = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "cancel"}}
            assert stranger.post(reply).status == 202
        reply = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}
        assert other.post(reply).status == 202
        assert other.post(reply).status == 202
        answer = stream.rest()
        assert (answer.result, answer.final["id"]) == ({"action": "decline"}, "call")


@requirement("session.server-asks")
def test_a_question_outside_of_a_call_is_asked_on_the_listening_stream(
    prober: Peer, probe: Stack
) -> None:
    with (
        ThreadPoolExecutor(1) as threads,
        prober.listen() as listening,
        peer_of(probe.mcp, session_id=prober.session_id) as caller,
        peer_of(probe.mcp, session_id=prober.session_id) as replier,
    ):
        answering = threads.submit(caller.ask, "probe/ask_outside", {"text": "still there?"})
        question = listening.next()
        assert question["params"]["message"] == "still there?"
        reply = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}
        assert replier.post(reply).status == 202
        assert answering.result(timeout=30).result == {"action": "decline"}


@requirement("session.server-asks")
def test_without_a_listening_stream_a_question_outside_of_a_call_fails_at_once(
    prober: Peer,
) -> None:
    assert prober.ask("probe/ask_outside", {"text": "anybody?"}).code == INVALID_REQUEST


@requirement("session.server-asks")
def test_an_error_of_the_client_is_told_to_the_handler(prober: Peer, probe: Stack) -> None:
    with (
        prober.stream(request("probe/ask", {"text": "your name?"})) as stream,
        peer_of(probe.mcp, session_id=prober.session_id) as other,
    ):
        error = {"code": -1, "message": "no user here"}
        other.post({"jsonrpc": "2.0", "id": stream.next()["id"], "error": error})
        assert stream.rest().error["message"] == "no user here"
