"""The events of an answer, built from what a handler said.

Pure: turns JSON-RPC messages into the contract's `HandleRequestResponse`, and nothing else does.
"""

import logging
import uuid
from collections.abc import Mapping
from typing import Any, Final

from linkspan.session.v1.session_pb2 import Message, MessageKind
from linkspan.session.v1.session_service_pb2 import (
    Accepted,
    Ended,
    HandleRequestResponse,
)
from linkspan_contract.envelope import (
    INTERNAL_ERROR,
    JsonObject,
    RequestId,
    encode,
    encode_error,
    encode_result,
)
from linkspan_contract.limits import MAX_ANSWER_BYTES, is_longer
from linkspan_session.answers import Answer, Failed, Result

logger = logging.getLogger(__name__)

# As constants, because protobuf looks each up anew.
_RESULT: Final = MessageKind.MESSAGE_KIND_RESULT
_ERROR: Final = MessageKind.MESSAGE_KIND_ERROR


def accepted_event(linked_traceparent: str = "") -> HandleRequestResponse:
    """Say that a notification or response was taken, and what span it answers to."""
    return HandleRequestResponse(accepted=Accepted(linked_traceparent=linked_traceparent))


def ended_event() -> HandleRequestResponse:
    """Say that the session has ended."""
    return HandleRequestResponse(ended=Ended())


def notification_event(method: str, params: Mapping[str, Any] | None) -> HandleRequestResponse:
    """Write a notification to the client; raises what `encode` raises."""
    return _message_event(_call(method, params), MessageKind.MESSAGE_KIND_NOTIFICATION)


def request_event(
    request_id: RequestId, method: str, params: Mapping[str, Any] | None
) -> HandleRequestResponse:
    """Write a request to the client; raises what `encode` raises."""
    call = {"id": request_id, **_call(method, params)}
    return _message_event(call, MessageKind.MESSAGE_KIND_REQUEST)


def answer_event(request_id: RequestId, answer: Answer) -> HandleRequestResponse:
    """Write the answer to a request; one that cannot be written becomes an internal error."""
    try:
        event = _answer_event(request_id, answer)
    except (TypeError, ValueError, RecursionError) as error:
        return _answer_event(request_id, _unwritable("it is not JSON", error))
    if is_longer(event.message.json, MAX_ANSWER_BYTES):
        return _answer_event(request_id, _unwritable(f"it is over {MAX_ANSWER_BYTES} bytes"))
    return event


def _answer_event(request_id: RequestId, answer: Answer) -> HandleRequestResponse:
    match answer:
        case Result(value):
            event = HandleRequestResponse()
            message = event.message
            message.json = encode_result(request_id, value)
            message.kind = _RESULT
            message.tool_error = value.get("isError") is True
            return event
        case Failed(code, words, data):
            text = encode_error(request_id, code, words, data)
            return HandleRequestResponse(message=Message(json=text, kind=_ERROR, error_code=code))


def _unwritable(why: str, error: Exception | None = None) -> Failed:
    correlation_id = uuid.uuid4().hex
    logger.error(
        "an answer cannot be sent, %s; correlation id %s", why, correlation_id, exc_info=error
    )
    return Failed(INTERNAL_ERROR, "Internal server error", {"correlationId": correlation_id})


def _call(method: str, params: Mapping[str, Any] | None) -> JsonObject:
    call: JsonObject = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        call["params"] = dict(params)
    return call


def _message_event(message: JsonObject, kind: MessageKind.ValueType) -> HandleRequestResponse:
    text = encode(message)
    if is_longer(text, MAX_ANSWER_BYTES):
        raise ValueError(f"a message to the client is over {MAX_ANSWER_BYTES} bytes")
    return HandleRequestResponse(message=Message(json=text, kind=kind))
