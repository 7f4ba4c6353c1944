"""Requests that may have begun before: which of them may run twice."""

import pytest
from mcp_types import methods

from linkspan_session.retries import (
    HARMLESS_METHODS,
    TOOL_METHOD,
    Again,
    decide,
    is_harmless_tool,
)
from linkspan_session.store import SessionId, StreamRecord

UNFINISHED = StreamRecord(SessionId("s"), "stream", 1, "", 0, "key")
FINISHED = StreamRecord(SessionId("s"), "stream", 1, "", 0, "key", finished=True)


@pytest.mark.parametrize(
    ("running_here", "on_record", "again"),
    [
        (True, None, Again.JOIN),
        (True, UNFINISHED, Again.JOIN),
        (True, FINISHED, Again.JOIN),
        (False, FINISHED, Again.REPLAY),
        (False, UNFINISHED, Again.RUN),
        (False, None, Again.RUN),
    ],
)
def test_a_request_runs_again_only_if_it_neither_runs_nor_has_an_answer(
    running_here: bool, on_record: StreamRecord | None, again: Again
) -> None:
    assert decide(running_here=running_here, on_record=on_record) is again


METHODS = {method for method, _ in methods.CLIENT_REQUESTS} | {"tasks/get", "tasks/cancel"}
"""What clients may ask for, in any version, and the tasks of 2026-07-28, which are an extension."""


def test_all_that_a_client_may_ask_for_is_harmless_except_to_call_a_tool() -> None:
    assert HARMLESS_METHODS | {TOOL_METHOD} == METHODS
    assert TOOL_METHOD not in HARMLESS_METHODS


@pytest.mark.parametrize(
    ("tool", "harmless"),
    [
        ({}, False),
        ({"annotations": None}, False),
        ({"annotations": ["readOnlyHint"]}, False),
        ({"annotations": {}}, False),
        ({"annotations": {"readOnlyHint": True}}, True),
        ({"annotations": {"idempotentHint": True}}, True),
        ({"annotations": {"readOnlyHint": False, "idempotentHint": True}}, True),
        ({"annotations": {"readOnlyHint": True, "idempotentHint": False}}, True),
        ({"annotations": {"readOnlyHint": False, "idempotentHint": False}}, False),
        ({"annotations": {"readOnlyHint": "true"}}, False),
        ({"annotations": {"idempotentHint": 1}}, False),
        ({"annotations": {"destructiveHint": False}}, False),
        ({"readOnlyHint": True}, False),
    ],
)
def test_a_tool_may_run_twice_only_if_it_says_so(tool: dict[str, object], harmless: bool) -> None:
    assert is_harmless_tool(tool) is harmless
