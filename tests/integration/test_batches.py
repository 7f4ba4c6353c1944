"""JSON-RPC batches: in MCP 2025-03-26, and nowhere else."""

import json

import pytest
from tests.requirements import requirement
from tests.support.mcp_http import JsonObject, call, events_of, http_session
from tests.support.stack import Stack

BATCH: list[JsonObject] = [
    call("add", {"a": 1, "b": 1}, id="one"),
    {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
    call("add", {"a": 2, "b": 2}, id=2),
    {"jsonrpc": "2.0", "id": 3, "method": "no/such/method"},
]


def answers(messages: list[JsonObject]) -> dict[object, object]:
    """Show each answer under its id: what a tool said, or the code of an error."""
    return {
        message["id"]: message["error"]["code"]
        if "error" in message
        else message["result"]["content"][0]["text"]
        for message in messages
    }


EXPECTED = {"one": "2", 2: "4", 3: -32601}


@requirement("batch")
def test_each_request_of_a_batch_is_answered_in_a_stream(stack: Stack) -> None:
    with http_session(stack.mcp, "2025-03-26") as session:
        response = session.post(BATCH)
    assert response.headers["content-type"] == "text/event-stream"
    assert answers([event.json for event in events_of(response)]) == EXPECTED


@requirement("batch", "http.json-only")
def test_a_client_that_takes_json_only_gets_one_array(stack: Stack) -> None:
    with http_session(stack.mcp, "2025-03-26") as session:
        response = session.post(BATCH, accept="application/json")
    assert answers(json.loads(response.text)) == EXPECTED


@requirement("batch")
def test_a_batch_without_requests_is_accepted(stack: Stack) -> None:
    with http_session(stack.mcp, "2025-03-26") as session:
        response = session.post([BATCH[1], {"jsonrpc": "2.0", "id": 99, "result": {}}])
    assert (response.status_code, response.content) == (202, b"")


@requirement("batch", "http.batch")
@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
@pytest.mark.parametrize("named", [True, False])
def test_other_versions_have_no_batches(stack: Stack, version: str, *, named: bool) -> None:
    with http_session(stack.mcp, version) as session:
        headers = session.headers
        if not named:
            del headers["mcp-protocol-version"]
        response = session.http.post(stack.mcp, json=BATCH, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == -32600


@requirement("batch")
@pytest.mark.parametrize(
    "batch",
    [
        [],
        [[]],
        [1],
        [BATCH[0], "no message"],
        [{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}],
        [BATCH[1]] * 101,
    ],
)
def test_a_malformed_batch_is_refused_whole(stack: Stack, batch: list[JsonObject]) -> None:
    with http_session(stack.mcp, "2025-03-26") as session:
        response = session.post(batch)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == -32600
