"""Tasks as SEP-2663 has them on the wire: parameters in, task objects out.

Pure. Source: https://modelcontextprotocol.io/seps/2663-tasks-extension and the extension's schema
for 2026-07-28.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from mcp_types import (
    CreateMessageRequest,
    CreateMessageResult,
    CreateMessageResultWithTools,
    ElicitRequest,
    ElicitResult,
    ListRootsRequest,
    ListRootsResult,
    RequestParams,
)
from pydantic import TypeAdapter, ValidationError

from linkspan_contract.envelope import JsonObject, encode
from linkspan_session.store.tasks import TaskRecord, TaskStatus

IDENTIFIER: Final = "io.modelcontextprotocol/tasks"
"""The extension's name in capabilities."""

Question = CreateMessageRequest | ListRootsRequest | ElicitRequest
QuestionAnswer = CreateMessageResult | CreateMessageResultWithTools | ListRootsResult | ElicitResult

_ANSWER_OF: Final[Mapping[str, TypeAdapter[Any]]] = MappingProxyType(
    {
        "elicitation/create": TypeAdapter(ElicitResult),
        "roots/list": TypeAdapter(ListRootsResult),
        "sampling/createMessage": TypeAdapter(CreateMessageResult | CreateMessageResultWithTools),
    }
)
"""What a request of each method is answered with."""


class AnswerError(Exception):
    """A client's answer is not one to its question; the message can go to the client."""


class TaskParams(RequestParams):
    """The parameters of `tasks/get` and `tasks/cancel`."""

    task_id: str


class UpdateTaskParams(TaskParams):
    """The parameters of `tasks/update`. Answers are read once it is known what they answer."""

    input_responses: dict[str, Any]


def created_task(record: TaskRecord) -> JsonObject:
    """Write a `CreateTaskResult`."""
    return {"resultType": "task", **_task(record)}


def detailed_task(record: TaskRecord) -> JsonObject:
    """Write a `GetTaskResult`: the task and what goes with its state."""
    body: JsonObject = {"resultType": "complete", **_task(record)}
    match record.status:
        case TaskStatus.INPUT_REQUIRED:
            open_questions = record.outstanding
            body["inputRequests"] = {
                each.key: json.loads(each.request_json) for each in open_questions
            }
        case TaskStatus.COMPLETED:
            body["result"] = json.loads(record.outcome_json or "{}")
        case TaskStatus.FAILED:
            body["error"] = json.loads(record.outcome_json or "{}")
        case _:
            pass
    return body


def question_json(question: Question) -> str:
    """Write a request to the client."""
    return encode(question.model_dump(by_alias=True, mode="json", exclude_none=True))


def answers_json(record: TaskRecord, answers: Mapping[str, Any]) -> dict[str, str]:
    """Check a client's answers, and write those to questions that are open.

    Raises:
        AnswerError: An answer is not one to its question.
    """
    texts: dict[str, str] = {}
    for question in record.outstanding:
        if question.key not in answers:
            continue
        method: str = json.loads(question.request_json)["method"]
        answer = answers[question.key]
        try:
            _ANSWER_OF[method].validate_python(answer, by_name=False)
        except ValidationError:
            raise AnswerError(f"{question.key!r} is not answered as {method} is") from None
        texts[question.key] = encode(answer)
    return texts


def read_answer(question: Question, text: str) -> QuestionAnswer:
    """Read an answer that `answers_json` wrote."""
    answer: QuestionAnswer = _ANSWER_OF[question.method].validate_json(text, by_name=False)
    return answer


def _task(record: TaskRecord) -> JsonObject:
    body: JsonObject = {
        "taskId": record.task_id,
        "status": record.status.value,
        "createdAt": _timestamp(record.created_millis),
        "lastUpdatedAt": _timestamp(record.updated_millis),
        "ttlMs": record.expires_millis - record.created_millis,
        "pollIntervalMs": record.poll_interval_millis,
    }
    if record.message is not None:
        body["statusMessage"] = record.message
    return body


def _timestamp(millis: int) -> str:
    """Write a time as ISO 8601 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(millis / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
