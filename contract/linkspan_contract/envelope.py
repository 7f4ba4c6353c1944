"""The JSON-RPC 2.0 envelope, as MCP narrows it: one object, parsed once and checked for shape.

Pure. What a method's parameters must look like is not decided here but by the MCP SDK, below which
this lies. MCP narrows JSON-RPC in two ways that matter here: ids are strings or integers, never
null, and `params` is an object.

Source: https://www.jsonrpc.org/specification and
https://modelcontextprotocol.io/specification/2025-11-25/basic#messages
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import isinf
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias, TypeGuard, cast

from linkspan_contract.limits import MAX_JSON_DEPTH, MAX_MESSAGE_BYTES

# JSON-RPC 2.0, section 5.1.
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
# The codes that the official SDKs use where the specification names none.
REQUEST_TIMEOUT: Final = -32001
REQUEST_CANCELLED: Final = -32800

JsonObject: TypeAlias = dict[str, Any]
RequestId: TypeAlias = str | int


class EnvelopeError(Exception):
    """The text is not one JSON-RPC message.

    Attributes:
        code: `PARSE_ERROR` if it is not JSON, `INVALID_REQUEST` if it is JSON of another shape.
        request_id: The id to answer with, or None where none could be read.
    """

    def __init__(self, code: int, message: str, request_id: RequestId | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


class Request(NamedTuple):
    """A call that is owed an answer under its `id`."""

    id: RequestId
    method: str
    params: JsonObject | None


class Notification(NamedTuple):
    """A call that is owed none."""

    method: str
    params: JsonObject | None


class Response(NamedTuple):
    """The answer to a request of the other side: exactly one of `result` and `error` is set."""

    id: RequestId
    result: JsonObject | None
    error: JsonObject | None


Envelope: TypeAlias = Request | Notification | Response


@dataclass(frozen=True, slots=True)
class Batch:
    """Several messages in one array, which MCP 2025-03-26 has and no other version."""

    messages: tuple[Envelope, ...]


BATCH_VERSION: Final = "2025-03-26"
"""The only protocol version with batches."""

MAX_BATCH: Final = 100
"""The most messages that a batch may hold."""


def parse_envelope(text: str | bytes) -> Envelope:
    """Read one JSON-RPC message.

    Args:
        text: The message, as text or as UTF-8.

    Raises:
        EnvelopeError: It is not JSON, or not one JSON-RPC message as MCP has them.
    """
    return check_envelope(_parse_json(text))


def parse_message(text: str | bytes) -> Envelope | Batch:
    """Read one JSON-RPC message, or a batch of them; whether there may be one is not said here.

    Raises:
        EnvelopeError: It is not JSON, or not JSON-RPC as MCP has it.
    """
    decoded = _parse_json(text)
    if not isinstance(decoded, list):
        return check_envelope(decoded)
    members = cast("list[object]", decoded)
    if not 0 < len(members) <= MAX_BATCH:
        _refuse(f"a batch must hold 1 to {MAX_BATCH} messages")
    messages = tuple(check_envelope(member) for member in members)
    if any(isinstance(each, Request) and each.method == "initialize" for each in messages):
        _refuse("initialize must not be part of a batch")
    return Batch(messages)


def check_envelope(decoded: object) -> Envelope:
    """Sort a decoded JSON value into the three kinds of message.

    Raises:
        EnvelopeError: The value is none of them.
    """
    if isinstance(decoded, list):
        _refuse("send one JSON-RPC message at a time: this protocol version has no batches")
    if not isinstance(decoded, dict):
        _refuse("a JSON-RPC message must be an object")
    message = cast("JsonObject", decoded)
    raw_id: object = message.get("id")
    request_id = raw_id if is_request_id(raw_id) else None
    if message.get("jsonrpc") != "2.0":
        _refuse('"jsonrpc" must be "2.0"', request_id)
    if "method" in message:
        return _check_call(message, request_id)
    return _check_response(message, request_id)


def is_request_id(value: object) -> TypeGuard[RequestId]:
    """Tell whether a decoded JSON value is a string or an integer; `true` is neither."""
    return isinstance(value, str | int) and not isinstance(value, bool)


_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode(message: JsonObject) -> str:
    """Write a message as one line of JSON that UTF-8 can carry.

    Raises:
        ValueError: It holds something that JSON has no word for, such as NaN.
        TypeError: It holds an object that is not JSON at all.
        RecursionError: It is nested too deeply.
    """
    text = _encode(message)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: only as an escape can it be written
        return json.dumps(message, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text


def encode_result(request_id: RequestId, result: JsonObject) -> str:
    """Write the answer to a request that went well; raises what `encode` raises."""
    return encode({"jsonrpc": "2.0", "id": request_id, "result": result})


def encode_error(
    request_id: RequestId | None, code: int, message: str, data: object | None = None
) -> str:
    """Write the answer to a request that failed; an id of None is written as null.

    Raises what `encode` raises, if `data` is not JSON.
    """
    error: JsonObject = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return encode({"jsonrpc": "2.0", "id": request_id, "error": error})


def _parse_json(text: str | bytes) -> object:
    try:
        # Strictly UTF-8: left alone, `json` takes UTF-16 and raw halves of surrogate pairs too.
        encoded = text.encode() if isinstance(text, str) else text
        if len(encoded) > MAX_MESSAGE_BYTES:
            _refuse(f"the message is larger than {MAX_MESSAGE_BYTES} bytes")
        words = text if isinstance(text, str) else text.decode()
        decoded: object = _decode(words)
        if _may_be_deep(words):
            _check_depth(decoded)
        if _may_hold_surrogates(words):
            json.dumps(decoded, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        # Not JSON, not UTF-8, a number of thousands of digits or too large for a float, half a
        # surrogate pair, or nesting so deep that nobody means it. Of a name that comes twice in one
        # object the last counts: at both ends, because both read with this.
        raise EnvelopeError(PARSE_ERROR, "the message is not valid JSON in UTF-8") from None
    return decoded


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """Read a number; infinity could be passed on to nobody, because JSON has no word for it."""
    value = float(text)
    if isinf(value):
        raise ValueError("a number is too large")
    return value


_decode: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite).decode


def _may_be_deep(text: str) -> bool:
    return text.count("{") + text.count("[") > MAX_JSON_DEPTH


def _check_depth(decoded: object) -> None:
    """Walk through a value level by level.

    Raises:
        ValueError: It has more than `MAX_JSON_DEPTH` levels.
    """
    level = [decoded]
    for _ in range(MAX_JSON_DEPTH):
        below: list[object] = []
        for each in level:
            if isinstance(each, dict):
                below.extend(_containers(cast("JsonObject", each).values()))
            elif isinstance(each, list):
                below.extend(_containers(cast("list[object]", each)))
        if not below:
            return
        level = below
    raise ValueError(f"nested in more than {MAX_JSON_DEPTH} levels")


def _containers(values: Iterable[object]) -> list[object]:
    return [value for value in values if isinstance(value, dict | list)]


def _may_hold_surrogates(text: str) -> bool:
    return "\\ud" in text or "\\uD" in text


def _check_call(message: JsonObject, request_id: RequestId | None) -> Request | Notification:
    method: object = message["method"]
    params: object = message.get("params")
    if not isinstance(method, str):
        _refuse('"method" must be a string', request_id)
    if params is not None and not isinstance(params, dict):
        _refuse('"params" must be an object', request_id)
    call_params = cast("JsonObject | None", params)
    if "id" not in message:
        return Notification(method, call_params)
    if request_id is None:
        _refuse('"id" must be a string or an integer')
    return Request(request_id, method, call_params)


def _check_response(message: JsonObject, request_id: RequestId | None) -> Response:
    result: object = message.get("result")
    error: object = message.get("error")
    if ("result" in message) == ("error" in message):
        _refuse('a message needs "method", or one of "result" and "error"', request_id)
    if request_id is None:
        _refuse('"id" must be a string or an integer')
    if "result" in message and not isinstance(result, dict):
        _refuse('"result" must be an object', request_id)
    if "error" in message and not isinstance(error, dict):
        _refuse('"error" must be an object', request_id)
    return Response(request_id, cast("JsonObject | None", result), cast("JsonObject | None", error))


def _refuse(message: str, request_id: RequestId | None = None) -> NoReturn:
    raise EnvelopeError(INVALID_REQUEST, message, request_id)
