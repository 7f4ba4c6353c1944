"""How the end of a task is written: as JSON text within a bound, whatever the handler came up with.

Pure, but for the log.
"""

import logging
import uuid

from linkspan_contract.envelope import INTERNAL_ERROR, JsonObject, encode
from linkspan_session.answers import Answer, Failed, Result
from linkspan_session.tasks.states import TaskEvent

logger = logging.getLogger(__name__)


def written(answer: Answer, max_bytes: int) -> tuple[TaskEvent, Failed | str]:
    """Return how a task ends whose handler came up with `answer`.

    Args:
        answer: What the handler returned or raised.
        max_bytes: The largest result or error, in bytes of JSON in UTF-8.

    Returns:
        The event, and the result as JSON or the error. What cannot be written, or is too large,
        becomes an internal error.
    """
    try:
        text = encode(answer.value) if isinstance(answer, Result) else failure_json(answer)
    except (TypeError, ValueError, RecursionError) as error:
        return TaskEvent.FAILED, internal_failure("the outcome of a task is not JSON", error)
    if len(text.encode()) > max_bytes:
        what = "result" if isinstance(answer, Result) else "error"
        message = f"The task's {what} is larger than {max_bytes} bytes"
        return TaskEvent.FAILED, Failed(INTERNAL_ERROR, message)
    if isinstance(answer, Failed):
        return TaskEvent.FAILED, answer
    return TaskEvent.COMPLETED, text


def failure_json(error: Failed) -> str:
    """Write a JSON-RPC error object; raises what `encode` raises."""
    body: JsonObject = {"code": error.code, "message": error.message}
    if error.data is not None:
        body["data"] = error.data
    return encode(body)


def internal_failure(what: str, error: BaseException) -> Failed:
    """Log what went wrong and return an error that tells nothing but where to look."""
    correlation_id = uuid.uuid4().hex
    logger.error("%s; correlation id %s", what, correlation_id, exc_info=error)
    return Failed(INTERNAL_ERROR, "Internal server error", {"correlationId": correlation_id})
