"""What is told of clients and responses, whatever shape a client gives to its messages."""

from typing import Any

import pytest

from linkspan_contract.envelope import Response
from linkspan_worker.message_attributes import (
    answer_attributes,
    client_attributes,
    modern_client_attributes,
    response_attributes,
)

INFO = "io.modelcontextprotocol/clientInfo"


def test_a_client_is_told_by_name_version_title_and_capabilities() -> None:
    params: dict[str, Any] = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"sampling": {}, "elicitation": {"form": {}}},
        "clientInfo": {"name": "n" * 300, "version": "1", "title": "T", "secret": "s"},
    }
    assert client_attributes(params) == {
        "mcp.client.name": "n" * 256,
        "mcp.client.version": "1",
        "mcp.client.title": "T",
        "mcp.client.protocol_version": "2025-11-25",
        "mcp.client.capability.keys": ["elicitation", "sampling"],
    }


def test_capabilities_are_bounded() -> None:
    many: dict[str, Any] = {f"{number:03}" + "x" * 300: {} for number in range(100)}
    keys = client_attributes({"capabilities": many})["mcp.client.capability.keys"]
    assert isinstance(keys, list)
    assert [len(str(key)) for key in keys] == [256] * 32


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"protocolVersion": 1, "capabilities": [], "clientInfo": "me"},
        {"clientInfo": {"name": 1, "version": None, "title": ["t"]}},
    ],
)
def test_what_has_another_shape_is_not_told(params: dict[str, Any]) -> None:
    assert client_attributes(params) == {}


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        (
            {INFO: {"name": "c", "version": "2"}},
            {"mcp.client.name": "c", "mcp.client.version": "2"},
        ),
        ({"progressToken": 1}, {}),
        ({INFO: "c"}, {}),
        ("c", {}),
        (None, {}),
    ],
)
def test_a_client_without_a_session_is_told_by_each_request(
    meta: object, told: dict[str, str]
) -> None:
    assert modern_client_attributes(meta) == told


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (
            {"action": "accept", "content": {"name": "a secret"}},
            {"mcp.elicitation.action": "accept"},
        ),
        ({"action": "decline"}, {"mcp.elicitation.action": "decline"}),
        ({"action": "cancel"}, {"mcp.elicitation.action": "cancel"}),
        ({"action": "my password"}, {}),
        ({"action": ["accept"]}, {}),
        ({"role": "assistant"}, {}),
        (None, {}),
    ],
)
def test_of_an_answer_to_elicitation_the_action_is_told_and_no_content(
    result: dict[str, Any] | None, told: dict[str, str]
) -> None:
    assert answer_attributes(Response(1, result, None)) == told


def test_a_response_is_told_by_status_and_kind_of_body() -> None:
    assert response_attributes(202, "") == {
        "http.response.status_code": 202,
        "mcp.response.status_code": 202,
    }
    assert response_attributes(200, "application/json")["mcp.response.content_type"] == (
        "application/json"
    )
