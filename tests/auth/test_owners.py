"""Whose session it is: ids that are another's, guessed or chosen, over real processes."""

import time

import pytest
from tests.auth.guarded import Guarded
from tests.requirements import requirement
from tests.support.peer import Answer, Peer, modern, modern_headers, request
from tests.support.processes import linkspan
from tests.support.waiting import wait_until

from linkspan_auth import append_key, make_key


def told(answer: Answer) -> tuple[int, dict[str, object]]:
    """Return all that a client is told but the time."""
    kept = {"content-type", "content-length", "mcp-session-id", "retry-after"}
    headers = {name: value for name, value in answer.headers.items() if name in kept}
    return answer.status, {"error": answer.error, **headers}


@requirement("auth.owner")
@pytest.mark.parametrize(
    "other",
    [{"subject": "mallory"}, {"api_key": True}, {"opaque": True}],
    ids=["another subject", "an api key", "an opaque token"],
)
def test_a_foreign_session_is_as_unknown_as_none_and_stays_as_it_was(
    guarded: Guarded, other: dict[str, object]
) -> None:
    token = guarded.token(subject=str(other.get("subject", "x")))
    if "api_key" in other:
        token = guarded.api_key
    if "opaque" in other:
        token = "opaque-of-mallory"  # noqa: S105 - of a test
        guarded.issuer.opaque[token] = {"active": True, "sub": "mallory", "aud": guarded.mcp}
    with guarded.peer(guarded.token(scope="sums")) as owner, guarded.peer(token) as stranger:
        assert owner.initialize().status == 200
        before = record_of(guarded, owner)
        stranger.session_id = "guessed-session-id-of-nobody-at-all"
        unknown = [told(answer) for answer in tried(stranger)]
        stranger.session_id = owner.session_id
        foreign = [told(answer) for answer in tried(stranger)]
        assert foreign == unknown
        assert {status for status, _ in foreign} == {404}
        assert record_of(guarded, owner) == before
        assert owner.call("add", a=1, b=1).result["structuredContent"] == {"result": 2}


def tried(peer: Peer) -> list[Answer]:
    """Do all that can be done with a session."""
    return [
        peer.post(request("ping", id=9)),
        peer.post(request("initialize", {"protocolVersion": "2025-11-25"}, id=9)),
        peer.post({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        peer.post({"jsonrpc": "2.0", "id": 9, "result": {}}),
        peer.send("GET"),
        peer.send("GET", headers={"last-event-id": "1-1"}),
        peer.end(),
    ]


def record_of(guarded: Guarded, peer: Peer) -> list[str]:
    """Return what is on record of a session."""
    assert peer.session_id is not None
    with linkspan(
        "sessions", "show", "--json", "--server", guarded.stack.grpc, "--", peer.session_id
    ) as shown:
        assert shown.wait() == 0, shown.errors
        return shown.output


@requirement("auth.owner", "modern.request-state")
def test_request_state_of_another_principal_is_refused(guarded: Guarded) -> None:
    def call(peer: Peer, **more: object) -> Answer:
        tool = "test_input_required_result_request_state"
        message = modern("tools/call", {"name": tool, "arguments": {}, **more})
        meta = message["params"]["_meta"]
        meta["io.modelcontextprotocol/clientCapabilities"] = {"elicitation": {"form": {}}}
        return peer.post(message, headers=modern_headers(message))

    back: dict[str, object] = {
        "inputResponses": {"confirm": {"action": "accept", "content": {"ok": True}}}
    }
    with (
        guarded.peer(guarded.token(subject="owner")) as owner,
        guarded.peer(guarded.token(subject="mallory")) as stranger,
    ):
        state = call(owner).result["requestState"]
        assert call(stranger, requestState=state, **back).code == -32602
        assert "content" in call(owner, requestState=state, **back).result


@requirement("auth.fixation")
def test_a_client_cannot_choose_the_id_of_a_session(guarded: Guarded) -> None:
    with guarded.peer(guarded.token(), session_id="chosen-by-the-client-0123456789") as peer:
        answer = peer.post(request("initialize", {"protocolVersion": "2025-11-25"}))
    assert answer.status == 404
    assert "mcp-session-id" not in answer.headers


@requirement("auth.owner")
def test_a_session_goes_on_with_a_newer_token_of_its_principal(guarded: Guarded) -> None:
    with guarded.peer(guarded.token(subject="carol", scope="sums")) as peer:
        assert peer.initialize().status == 200
        newer = guarded.token(subject="carol", scope="sums", algorithm="ES256")
        peer.http.headers["authorization"] = f"Bearer {newer}"
        assert peer.call("add", a=1, b=2).result["structuredContent"] == {"result": 3}


def test_a_listening_stream_ends_with_the_token_that_opened_it(guarded: Guarded) -> None:
    with guarded.peer(guarded.token(subject="heidi")) as peer:
        assert peer.initialize().status == 200
        short = guarded.token(subject="heidi", exp=int(time.time()) + 3)
        peer.http.headers["authorization"] = f"Bearer {short}"
        with peer.listen() as stream:
            assert stream.response.status_code == 200
            stream.rest()
        assert peer.ask("ping").status == 401


@requirement("auth.api-keys")
def test_a_listening_stream_ends_when_the_key_that_opened_it_is_taken_out(
    guarded: Guarded,
) -> None:
    before = guarded.keys.read_text()
    key, line = make_key("leaver")
    append_key(guarded.keys, line)

    def let_in(peer: Peer) -> bool:
        return peer.initialize().status == 200

    with guarded.peer(key) as peer:
        wait_until(lambda: let_in(peer), "the key")
        with peer.listen() as stream:
            assert stream.response.status_code == 200
            guarded.keys.write_text(before)
            stream.rest()
        assert peer.ask("ping").status == 401


@requirement("auth.issuer-away")
def test_a_session_outlives_an_outage_of_the_issuer(guarded: Guarded) -> None:
    with guarded.peer(guarded.token(subject="dave", scope="sums")) as peer:
        assert peer.initialize().status == 200
        guarded.issuer.opaque["opaque-dave"] = {"active": True, "sub": "dave", "aud": guarded.mcp}
        guarded.issuer.away = True
        try:
            assert peer.call("add", a=1, b=2).status == 200
            with guarded.peer("opaque-dave", session_id=peer.session_id) as other:
                answer = other.post(request("ping"))
            assert (answer.status, "www-authenticate" in answer.headers) == (503, False)
            assert int(answer.headers["retry-after"]) >= 1
        finally:
            guarded.issuer.away = False
        assert peer.call("add", a=1, b=2).status == 200


@requirement("auth.scopes")
def test_a_tool_or_method_without_its_scope_is_403_and_names_what_it_needs(
    guarded: Guarded,
) -> None:
    with guarded.peer(guarded.token(subject="erin", scope="files other")) as peer:
        assert peer.initialize().status == 200
        answer = peer.call("add", a=1, b=2)
        assert answer.status == 403
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith('Bearer error="insufficient_scope"')
        assert 'scope="files sums"' in challenge
        assert answer.final["id"] == 1
        assert peer.call("echo", text="hi").status == 200
        assert peer.ask("resources/list").status == 200
        peer.http.headers["authorization"] = f"Bearer {guarded.token(subject='erin', scope='sums')}"
        assert peer.call("add", a=1, b=2).result["structuredContent"] == {"result": 3}
        assert peer.ask("resources/list").status == 403


@requirement("auth.scopes")
@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"add"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"add"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools\\u002fcall","params":{"name":"\\u0061dd"}}',
    ],
    ids=["a method twice", "a name twice", "escapes"],
)
def test_no_way_of_writing_a_call_gets_round_its_scope(guarded: Guarded, body: bytes) -> None:
    with guarded.peer(guarded.token(subject="frank")) as peer:
        assert peer.initialize().status == 200
        assert peer.send("POST", body).status == 403


@requirement("auth.scopes")
def test_a_batch_needs_the_scopes_of_all_that_is_in_it(guarded: Guarded) -> None:
    with guarded.peer(guarded.token(subject="grace")) as peer:
        assert peer.initialize(protocolVersion="2025-03-26").status == 200
        call = b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"add"}}'
        batch = b'[{"jsonrpc":"2.0","id":1,"method":"ping"},' + call + b"]"
        assert peer.send("POST", batch).status == 403


@requirement("auth.api-keys")
def test_a_key_that_is_taken_out_of_the_file_is_refused(guarded: Guarded) -> None:
    with linkspan("api-key", "--file", str(guarded.keys), "--subject", "temp") as made:
        assert made.wait() == 0, made.errors
        (key,) = made.output
    lines = guarded.keys.read_text().splitlines()
    with guarded.peer(key) as peer:
        status = 0
        while status != 200:  # the file is looked at once a second
            status = peer.initialize().status
            assert status in (200, 401)
        guarded.keys.write_text("\n".join(lines[:-1]) + "\n")
        while status == 200:
            status = peer.ask("ping").status
        assert status == 401
