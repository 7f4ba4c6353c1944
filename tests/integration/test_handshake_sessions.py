"""Sessions as MCP 2025-03-26 to 2025-11-25 have them, over HTTP, from their opening to their end."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.requirements import requirement
from tests.support.peer import (
    INITIALIZE,
    Answer,
    Peer,
    notification,
    peer_of,
    request,
    session_at,
)
from tests.support.processes import EVERYTHING, linkspan
from tests.support.session_calls import service_at, session_ids
from tests.support.stack import Stack, running_stack
from tests.support.waiting import wait_until

from linkspan_contract.limits import is_session_id

INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
CONNECTION_CLOSED = -32000
REQUEST_CANCELLED = -32800

HANDSHAKE_VERSIONS = ["2025-03-26", "2025-06-18", "2025-11-25"]


def ids_on_record(stack: Stack) -> set[str]:
    async def main() -> set[str]:
        async with service_at(stack.grpc) as service:
            return set(await session_ids(service))

    return asyncio.run(main())


# --- opening ---------------------------------------------------------------------------------------


@requirement("session.initialize")
@pytest.mark.parametrize("version", HANDSHAKE_VERSIONS)
def test_initialize_opens_a_session_and_names_it(stack: Stack, peer: Peer, version: str) -> None:
    answer = peer.initialize(protocolVersion=version)
    assert answer.status == 200
    assert answer.result["protocolVersion"] == version
    assert answer.result["serverInfo"]["name"] == "everything"
    assert peer.session_id is not None
    assert is_session_id(peer.session_id)
    assert peer.session_id in ids_on_record(stack)
    assert peer.call("add", a=1, b=2).result["structuredContent"] == {"result": 3}


@requirement("session.initialize")
def test_every_session_has_an_id_that_nobody_can_guess(stack: Stack) -> None:
    ids: set[str] = set()
    for _ in range(10):
        with session_at(stack.mcp) as peer:
            assert peer.session_id is not None
            ids.add(peer.session_id)
    assert len(ids) == 10
    assert min(map(len, ids)) >= 32


@requirement("session.version")
@pytest.mark.parametrize("version", ["2024-01-01", "2030-01-01", "2026-07-28", "x", ""])
def test_an_unknown_version_is_answered_with_one_that_is_served(peer: Peer, version: str) -> None:
    answer = peer.initialize(protocolVersion=version)
    assert answer.status == 200
    assert answer.result["protocolVersion"] == "2025-11-25"


@requirement("session.failed-initialize")
@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"protocolVersion": 7}, INVALID_PARAMS),
        ({"clientInfo": None}, INVALID_PARAMS),
        ({"clientInfo": {"name": "refuse me", "version": "1"}}, CONNECTION_CLOSED),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_a_failed_initialize_leaves_no_session_and_names_none(
    probe: Stack, params: dict[str, object], code: int, accept: str
) -> None:
    before = ids_on_record(probe)
    with peer_of(probe.mcp) as peer:
        message = request("initialize", {**INITIALIZE, **params})
        answer = peer.post(message, headers={"accept": accept})
    assert (answer.status, answer.code) == (200, code)
    assert "mcp-session-id" not in answer.headers
    assert ids_on_record(probe) == before


@requirement("session.again")
def test_a_second_initialize_is_refused_and_the_session_goes_on(session: Peer) -> None:
    answer = session.ask("initialize", INITIALIZE)
    assert (answer.status, answer.code) == (200, INVALID_REQUEST)
    assert session.call("add", a=1, b=2).status == 200


@requirement("session.params-invalid")
def test_before_initialize_a_method_is_refused(probe: Stack) -> None:
    """As the SDK has it: the id is good, but the handshake is missing."""
    name = "hold before"
    with (
        ThreadPoolExecutor(1) as threads,
        peer_of(probe.mcp) as opening,
        session_at(probe.mcp) as other,
    ):
        before = ids_on_record(probe)
        client = {"name": name, "version": "1"}
        answering = threads.submit(opening.initialize, clientInfo=client)
        other.ask("probe/seen", {"name": name, "mark": "started"})
        (session_id,) = ids_on_record(probe) - before
        with peer_of(probe.mcp, session_id=session_id) as early:
            refused = early.ask("probe/say", {"text": "too early"})
            assert (refused.status, refused.code) == (200, INVALID_PARAMS)
            again = early.ask("initialize", INITIALIZE)
            assert (again.status, again.code) == (200, INVALID_REQUEST)
        other.ask("probe/release", {"name": name})
        assert answering.result(timeout=30).status == 200


@requirement("session.failed-initialize", "session.cancelled")
def test_a_cancelled_initialize_leaves_no_session(probe: Stack) -> None:
    name = "hold cancelled"
    with (
        ThreadPoolExecutor(1) as threads,
        peer_of(probe.mcp) as opening,
        session_at(probe.mcp) as other,
    ):
        before = ids_on_record(probe)
        message = request("initialize", {**INITIALIZE, "clientInfo": {"name": name, "version": ""}})
        answering = threads.submit(opening.post, message)
        other.ask("probe/seen", {"name": name, "mark": "started"})
        (session_id,) = ids_on_record(probe) - before
        with peer_of(probe.mcp, session_id=session_id) as canceller:
            cancel = notification("notifications/cancelled", {"requestId": message["id"]})
            assert canceller.post(cancel).status == 202
        assert answering.result(timeout=30).code == REQUEST_CANCELLED
        assert ids_on_record(probe) == before


# --- ids -------------------------------------------------------------------------------------------

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


# --- the end ---------------------------------------------------------------------------------------


@requirement("session.ended")
@WAYS_TO_SPEAK
def test_an_ended_session_is_404(stack: Stack, session: Peer, speak: Speaking) -> None:
    answer = session.end()
    assert (answer.status, answer.messages) == (200, [])
    assert session.session_id not in ids_on_record(stack)
    assert speak(session).status == 404


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


# --- listening and asking --------------------------------------------------------------------------


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


# --- surviving -------------------------------------------------------------------------------------


@requirement("session.survives")
def test_a_session_outlives_the_death_of_its_session_server(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack, session_at(stack.mcp) as peer:
        assert peer.call("add", a=1, b=2).status == 200
        stack.session.kill()
        port = stack.grpc.rpartition(":")[2]
        arguments = ("--app", EVERYTHING, "--port", port, "--data", str(tmp_path))
        with linkspan("session", *arguments) as another:
            another.wait_ready()
            answer = served(peer)
            assert answer.result["structuredContent"] == {"result": 3}
            again = peer.ask("initialize", INITIALIZE)
            assert (again.status, again.code) == (200, INVALID_REQUEST)
            assert peer.end().status == 200
            assert peer.call("add", a=1, b=2).status == 404


@requirement("session.survives")
def test_a_session_outlives_its_worker_and_is_served_by_any(stack: Stack, session: Peer) -> None:
    with linkspan("worker", "--session", stack.grpc, "--port", "0") as another:
        address = another.wait_ready()["mcp"]
        with peer_of(address, session_id=session.session_id) as peer:
            assert peer.call("add", a=1, b=2).result["structuredContent"] == {"result": 3}
        another.kill()
    assert session.call("add", a=2, b=2).result["structuredContent"] == {"result": 4}


def served(peer: Peer) -> Answer:
    """Call until the worker has found its session server again."""
    answers: list[Answer] = []

    def is_served() -> bool:
        answers.append(peer.call("add", a=1, b=2))
        return answers[-1].status != 503

    wait_until(is_served, "the session server")
    return answers[-1]
