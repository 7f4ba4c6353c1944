"""How the end of a task is written: JSON within its bound, or an error that says why not."""

import json
import logging
from typing import Any

import pytest

from linkspan_session.answers import Failed, Result
from linkspan_session.tasks.outcomes import failure_json, written
from linkspan_session.tasks.states import TaskEvent

LIMIT = 100


def test_a_result_completes_the_task() -> None:
    assert written(Result({"a": "é"}), LIMIT) == (TaskEvent.COMPLETED, '{"a":"é"}')


def test_a_result_that_tells_of_an_error_completes_it_too() -> None:
    event, _ = written(Result({"content": [], "isError": True}), LIMIT)
    assert event is TaskEvent.COMPLETED


def test_an_error_fails_the_task() -> None:
    error = Failed(-32000, "no", {"why": 1})
    assert written(error, LIMIT) == (TaskEvent.FAILED, error)
    assert json.loads(failure_json(error)) == {"code": -32000, "message": "no", "data": {"why": 1}}


@pytest.mark.parametrize(
    ("answer", "what"),
    [(Result({"a": "é" * LIMIT}), "result"), (Failed(-32000, "x" * LIMIT), "error")],
)
def test_what_is_too_large_fails_the_task(answer: Result | Failed, what: str) -> None:
    event, failure = written(answer, LIMIT)
    assert event is TaskEvent.FAILED
    assert failure == Failed(-32603, f"The task's {what} is larger than {LIMIT} bytes")


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_what_is_not_json_fails_the_task_and_is_logged(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        event, failure = written(Result({"a": value}), LIMIT)
    assert event is TaskEvent.FAILED
    assert isinstance(failure, Failed)
    assert failure.message == "Internal server error"
    data: Any = failure.data
    assert data["correlationId"] in caplog.text
