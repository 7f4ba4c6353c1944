"""State that travels through the client (MCP 2026-07-28), and headers that mirror arguments."""

import secrets
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.requirements import requirement
from tests.support.stack import Stack, running_stack

VERSION = "2026-07-28"
TOOL = "test_input_required_result_request_state"
CONFIRMED = {"confirm": {"action": "accept", "content": {"ok": True}}}


def modern_call(
    address: str, tool: str, arguments: dict[str, Any], headers: dict[str, str], **more: Any
) -> httpx2.Response:
    """Call a tool with an envelope and the headers that go with it."""
    meta: dict[str, Any] = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "by-hand", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    }
    params: dict[str, Any] = {"name": tool, "arguments": arguments, "_meta": meta, **more}
    return httpx2.post(
        address,
        timeout=30,
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params},
        headers={
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": VERSION,
            "mcp-method": "tools/call",
            "mcp-name": tool,
            **headers,
        },
    )


def ask(address: str) -> str:
    """Call the tool that asks back, and return the state that it hands out."""
    result = modern_call(address, TOOL, {}, {}).json()["result"]
    assert result["resultType"] == "input_required"
    state: str = result["requestState"]
    return state


def bring_back(address: str, state: str) -> dict[str, Any]:
    answer: dict[str, Any] = modern_call(
        address, TOOL, {}, {}, inputResponses=CONFIRMED, requestState=state
    ).json()
    return answer


@requirement("modern.request-state")
def test_state_that_comes_back_as_it_went_is_accepted(stack: Stack) -> None:
    answer = bring_back(stack.mcp, ask(stack.mcp))
    assert answer["result"]["content"][0]["text"] == "state-ok: confirmed"


@requirement("modern.request-state")
@pytest.mark.parametrize("how", ["changed", "cut", "plain", "made-up"])
def test_forged_state_is_refused(stack: Stack, how: str) -> None:
    state = ask(stack.mcp)
    forged = {
        "changed": state[:-2] + ("AA" if state[-2:] != "AA" else "BB"),
        "cut": state[: len(state) // 2],
        "plain": "to-be-confirmed",
        "made-up": "v1.AAAA",
    }[how]
    assert bring_back(stack.mcp, forged)["error"]["code"] == -32602


@requirement("modern.request-state")
def test_session_servers_accept_each_others_state_only_if_they_share_a_key(tmp_path: Path) -> None:
    shared, other = tmp_path / "shared.key", tmp_path / "other.key"
    shared.write_text(secrets.token_hex(32))
    other.write_text(secrets.token_hex(32))

    def server(name: str, key: Path) -> Any:
        arguments = ("--request-state-key", str(key))
        return running_stack(tmp_path / name, session_arguments=arguments)

    with server("a", shared) as a, server("b", shared) as b, server("c", other) as c:
        state = ask(a.mcp)
        assert "result" in bring_back(b.mcp, state)
        assert bring_back(c.mcp, state)["error"]["code"] == -32602


HEADERS = {"mcp-param-region": "eu", "mcp-param-priority": "3"}
ARGUMENTS = {"region": "eu", "priority": 3}


@requirement("modern.param-headers")
def test_headers_that_mirror_the_arguments_are_accepted(stack: Stack) -> None:
    response = modern_call(stack.mcp, "test_custom_headers", ARGUMENTS, HEADERS)
    assert response.status_code == 200
    assert "region=eu priority=3" in response.text


@requirement("modern.param-headers")
@pytest.mark.parametrize(
    "headers",
    [
        {**HEADERS, "mcp-param-region": "us"},
        {"mcp-param-region": "eu"},
        {**HEADERS, "mcp-param-region": "=?base64?!!?="},
    ],
    ids=["differs", "missing", "malformed"],
)
def test_headers_that_disagree_with_the_arguments_are_refused(
    stack: Stack, headers: dict[str, str]
) -> None:
    response = modern_call(stack.mcp, "test_custom_headers", ARGUMENTS, headers)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == -32020


@requirement("modern.param-headers")
def test_a_header_without_its_argument_is_refused(stack: Stack) -> None:
    response = modern_call(stack.mcp, "test_custom_headers", {}, {"mcp-param-region": "eu"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == -32020
