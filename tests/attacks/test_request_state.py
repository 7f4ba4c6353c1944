"""Request state (MCP 2026-07-28) that was altered, or is brought with another request.

State of another principal is in `tests/auth/test_owners.py`, of another key in
`tests/integration/test_request_state.py`. State that comes twice with the very request that it was made
for is accepted until it expires: it holds what the server knows, and no right that is spent.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from tests.requirements import requirement
from tests.support.peer import Answer, modern, modern_headers, peer_of
from tests.support.stack import Stack

TOOL = "test_input_required_result_request_state"
OTHER = "test_input_required_result_tampered_state"
CONFIRMED = {"confirm": {"action": "accept", "content": {"ok": True}}}
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def asked(stack: Stack, tool: str = TOOL, **more: Any) -> Answer:
    """Call a tool without a session, as a client that can be asked."""
    message = modern("tools/call", {"name": tool, "arguments": {}, **more})
    capabilities: dict[str, Any] = {"elicitation": {"form": {}}}
    message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities
    with peer_of(stack.mcp) as peer:
        return peer.post(message, headers=modern_headers(message))


def brought(stack: Stack, state: Any, tool: str = TOOL, **more: Any) -> Answer:
    return asked(stack, tool, requestState=state, inputResponses=CONFIRMED, **more)


def is_refused(answer: Answer) -> bool:
    """Tell whether state was refused, in words that do not say why."""
    known = {"code": -32602, "message": "Invalid or expired requestState"}
    return {name: answer.error.get(name) for name in known} == known


@requirement("attacks.request-state")
def test_no_character_of_it_can_be_changed(stack: Stack) -> None:
    state: str = asked(stack).result["requestState"]
    for position in range(0, len(state), 5):
        old = state[position]
        new = BASE64[(BASE64.find(old) + 1) % len(BASE64)]
        forged = f"{state[:position]}{new}{state[position + 1 :]}"
        assert is_refused(brought(stack, forged)), position
    assert "content" in brought(stack, state).result


FORGERIES: Final[Mapping[str, Callable[[str], str]]] = {
    "padded": lambda state: state + "=",
    "longer": lambda state: state + "A",
    "behind space": lambda state: " " + state,
    "before a line end": lambda state: state + "\n",
    "before a NUL": lambda state: state + "\0",
    "of another version": lambda state: state.replace("v1.", "v2.", 1),
    "of no version": lambda state: state.replace("v1.", "", 1),
    "twice": lambda state: state + "." + state,
    "in other cases": lambda state: state.swapcase(),
    "long": lambda _: "v1." + "A" * 100_000,
    "not ASCII": lambda _: "v1.\u00e4",
    "empty": lambda _: "",
}


@requirement("attacks.request-state")
@pytest.mark.parametrize("how", FORGERIES)
def test_no_other_way_of_writing_it_is_accepted(stack: Stack, how: str) -> None:
    state: str = asked(stack).result["requestState"]
    assert is_refused(brought(stack, FORGERIES[how](state)))


@requirement("attacks.request-state")
@pytest.mark.parametrize("state", [1, True, [], {}, {"v": 1}])
def test_what_is_no_text_is_refused(stack: Stack, state: Any) -> None:
    answer = brought(stack, state)
    assert answer.code == -32602
    assert "Traceback" not in str(answer.error)


@requirement("attacks.request-state")
def test_it_is_of_no_use_with_another_request(stack: Stack) -> None:
    state: str = asked(stack).result["requestState"]
    assert is_refused(brought(stack, state, OTHER))
    assert is_refused(brought(stack, state, arguments={"another": 1}))
    assert "content" in brought(stack, state).result
