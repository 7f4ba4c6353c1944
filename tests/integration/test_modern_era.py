"""MCP 2026-07-28 over HTTP: every POST stands for itself, and closing its answer cancels it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.requirements import requirement
from tests.support.peer import (
    ENVELOPE,
    MODERN_VERSION,
    Message,
    Peer,
    modern,
    modern_headers,
    notification,
    peer_of,
    request,
    sent_by_hand,
    session_at,
)
from tests.support.stack import Stack

INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022

META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"

MODERN = {"mcp-protocol-version": MODERN_VERSION}


def call(tool: str, **arguments: Any) -> Message:
    return modern("tools/call", {"name": tool, "arguments": arguments})


# --- one request by itself -------------------------------------------------------------------------


@requirement("modern.alone")
def test_a_request_is_answered_without_a_session(peer: Peer) -> None:
    answer = peer.ask_modern("tools/call", {"name": "add", "arguments": {"a": 2, "b": 3}})
    assert answer.status == 200
    assert answer.result["structuredContent"] == {"result": 5}
    assert answer.result["resultType"] == "complete"
    assert "mcp-session-id" not in answer.headers


@requirement("modern.alone")
def test_a_session_id_is_ignored_and_never_echoed(stack: Stack) -> None:
    with peer_of(stack.mcp, session_id="no-such-session") as peer:
        answer = peer.ask_modern("server/discover")
    assert answer.status == 200
    assert MODERN_VERSION in answer.result["supportedVersions"]
    assert "mcp-session-id" not in answer.headers


@requirement("modern.alone")
def test_the_handler_knows_the_client_from_the_envelope(probe: Stack) -> None:
    with peer_of(probe.mcp) as peer:
        result = peer.ask_modern("probe/whoami").result
    assert (result["client"], result["version"]) == ("peer", MODERN_VERSION)


@requirement("modern.alone")
def test_a_notification_gets_202_and_no_body(peer: Peer) -> None:
    answer = peer.post(notification("notifications/cancelled", {"requestId": 1}), headers=MODERN)
    assert (answer.status, answer.messages) == (202, [])


@requirement("modern.alone")
def test_a_posted_cancellation_reaches_nobody(probe: Stack) -> None:
    """Ids are each client's own: to obey would let one client cancel another's request."""
    message = modern("probe/hold", {"name": "not cancelled"}, id="shared")
    with (
        peer_of(probe.mcp) as one,
        peer_of(probe.mcp) as other,
        one.stream(message, headers=modern_headers(message)) as stream,
    ):
        other.ask_modern("probe/seen", {"name": "not cancelled", "mark": "started"})
        cancel = notification("notifications/cancelled", {"requestId": "shared"})
        assert other.post(cancel, headers=MODERN).status == 202
        other.ask_modern("probe/release", {"name": "not cancelled"})
        assert stream.rest().result["held"] == "not cancelled"


# --- what is refused -------------------------------------------------------------------------------


@requirement("modern.version")
@pytest.mark.parametrize("version", ["2030-01-01", "2025-11-24", "x"])
def test_an_unsupported_version_is_told_which_are_supported(peer: Peer, version: str) -> None:
    meta = {**ENVELOPE, META_VERSION: version}
    message = request("tools/list", {"_meta": meta}, id="v")
    headers = {"mcp-protocol-version": version, "mcp-method": "tools/list"}
    answer = peer.post(message, headers=headers)
    assert (answer.status, answer.code, answer.final["id"]) == (400, UNSUPPORTED_VERSION, "v")
    assert answer.error["data"] == {"supported": [MODERN_VERSION], "requested": version}


@requirement("modern.version")
def test_an_unsupported_version_of_a_notification_too(peer: Peer) -> None:
    headers = {"mcp-protocol-version": "2030-01-01"}
    answer = peer.post(notification("notifications/x"), headers=headers)
    assert (answer.status, answer.code, answer.final["id"]) == (400, UNSUPPORTED_VERSION, None)


@requirement("modern.envelope")
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"_meta": {}},
        {"_meta": {META_VERSION: MODERN_VERSION}},
        {"_meta": {META_CAPABILITIES: {}}},
        {"_meta": "x"},
    ],
)
def test_a_request_without_its_envelope_is_refused(peer: Peer, params: dict[str, Any]) -> None:
    headers = {**MODERN, "mcp-method": "tools/list"}
    answer = peer.post(request("tools/list", params, id=4), headers=headers)
    assert (answer.status, answer.code, answer.final["id"]) == (400, INVALID_PARAMS, 4)


@requirement("modern.headers")
@pytest.mark.parametrize(
    "headers",
    [
        {"mcp-method": None},
        {"mcp-method": "tools/list"},
        {"mcp-name": None},
        {"mcp-name": "echo"},
        {"mcp-protocol-version": "2030-01-01"},
    ],
    ids=lambda headers: "-".join(f"{name}={value}" for name, value in headers.items()),
)
def test_headers_that_disagree_with_the_body_are_refused(
    peer: Peer, headers: dict[str, str | None]
) -> None:
    message = call("add", a=1, b=2)
    answer = peer.post(message, headers={**modern_headers(message), **headers})
    assert (answer.status, answer.code) == (400, HEADER_MISMATCH)
    assert answer.final["id"] == message["id"]


@requirement("modern.headers")
@pytest.mark.parametrize("name", ["mcp-method", "mcp-name", "mcp-protocol-version"])
def test_a_header_that_comes_twice_is_refused(stack: Stack, peer: Peer, name: str) -> None:
    message = call("add", a=1, b=2)
    headers = {**modern_headers(message), "content-type": "application/json"}
    pairs = [*headers.items(), (name, headers[name])]
    response = peer.http.post(stack.mcp, content=json.dumps(message), headers=pairs)
    assert (response.status_code, response.json()["error"]["code"]) == (400, HEADER_MISMATCH)


@requirement("modern.headers")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"mcp-param-region": "north", "mcp-param-priority": "3"}, 200),
        ({"mcp-param-region": "=?base64?bm9ydGg=?=", "mcp-param-priority": "3"}, 200),
        ({"mcp-param-region": "south", "mcp-param-priority": "3"}, 400),
        ({"mcp-param-region": "north", "mcp-param-priority": "4"}, 400),
        ({"mcp-param-region": "north"}, 400),
        ({"mcp-param-region": "=?base64?!?=", "mcp-param-priority": "3"}, 400),
        ({"mcp-param-region": "=?base64?\xe9?=", "mcp-param-priority": "3"}, 400),
    ],
)
def test_a_mirrored_argument_must_be_the_argument(
    peer: Peer, headers: dict[str, str], status: int
) -> None:
    message = call("test_custom_headers", region="north", priority=3)
    answer = peer.post(message, headers={**modern_headers(message), **headers})
    assert answer.status == status
    if status != 200:
        assert answer.code == HEADER_MISMATCH


@requirement("modern.method-unknown")
@pytest.mark.parametrize("method", ["no/such", "ping", "logging/setLevel", "initialize"])
def test_an_unknown_or_removed_method_is_404(peer: Peer, method: str) -> None:
    answer = peer.ask_modern(method)
    assert (answer.status, answer.code) == (404, METHOD_NOT_FOUND)


@requirement("modern.envelope")
def test_invalid_params_are_400(peer: Peer) -> None:
    answer = peer.ask_modern("tools/call", {"name": "add", "arguments": 7})
    assert (answer.status, answer.code) == (400, INVALID_PARAMS)


@requirement("modern.post-only")
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_get_and_delete_are_405(session: Peer, method: str) -> None:
    answer = session.send(method, headers={**MODERN, "accept": "text/event-stream"})
    assert (answer.status, answer.code) == (405, INVALID_REQUEST)
    assert answer.headers["allow"] == "POST, OPTIONS"
    assert session.call("add", a=1, b=1).status == 200


@requirement("modern.no-response")
def test_a_response_from_a_client_is_400(peer: Peer) -> None:
    answer = peer.post({"jsonrpc": "2.0", "id": 1, "result": {}}, headers=MODERN)
    assert (answer.status, answer.code) == (400, INVALID_REQUEST)


@requirement("modern.no-response")
def test_a_handler_cannot_ask_its_client_and_does_not_hang(probe: Stack) -> None:
    with peer_of(probe.mcp) as peer:
        answer = peer.ask_modern("probe/ask", {"text": "your name?"})
    assert (answer.code, answer.status) == (INVALID_REQUEST, 400)


@requirement("http.batch")
def test_a_batch_is_400(peer: Peer) -> None:
    body = json.dumps([call("add", a=1, b=2)]).encode()
    answer = peer.send("POST", body, headers=MODERN)
    assert (answer.status, answer.code) == (400, INVALID_REQUEST)


# --- leaving ---------------------------------------------------------------------------------------


def leave_a_stream(peer: Peer, message: Message, started: Callable[[], None]) -> None:
    with peer.stream(message, headers=modern_headers(message)) as stream:
        stream.comment()
        started()


def leave_before_anything_came(peer: Peer, message: Message, started: Callable[[], None]) -> None:
    """Close the connection of a client of JSON, which hears nothing before the answer."""
    body = json.dumps(message).encode()
    headers = {**modern_headers(message), "accept": "application/json"}
    headers["content-length"] = str(len(body))
    with sent_by_hand(peer.address, headers, body):
        started()


Leaving = Callable[[Peer, Message, Callable[[], None]], None]


@requirement("modern.disconnect")
@pytest.mark.parametrize("leave", [leave_a_stream, leave_before_anything_came])
def test_closing_the_answer_cancels_the_request(probe: Stack, leave: Leaving) -> None:
    name = f"closed {leave.__name__}"
    with peer_of(probe.mcp) as leaver, session_at(probe.mcp) as witness:

        def started() -> None:
            witness.ask("probe/seen", {"name": name, "mark": "started"})

        leave(leaver, modern("probe/hold", {"name": name}), started)
        assert witness.ask("probe/seen", {"name": name, "mark": "cancelled"}).result == {}
        finished = witness.ask("probe/is_marked", {"name": name, "mark": "finished"})
        assert finished.result == {"marked": False}
