"""What a handler said, as events: each kind, and answers that cannot be written or sent."""

import json
import logging
from functools import partial
from typing import Any

import pytest

from linkspan.session.v1.session_pb2 import MessageKind
from linkspan_contract.envelope import INTERNAL_ERROR
from linkspan_session import events
from linkspan_session.answers import Failed, Result
from linkspan_session.events import (
    accepted_event,
    answer_event,
    ended_event,
    notification_event,
    request_event,
)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["itself"] = value
    return value


def test_events_without_a_message_say_what_happened() -> None:
    happened = [each.WhichOneof("event") for each in (accepted_event(), ended_event())]
    assert happened == ["accepted", "ended"]


def test_a_notification_is_a_message_without_an_id() -> None:
    message = notification_event("notifications/progress", {"progress": 1}).message
    assert message.kind == MessageKind.MESSAGE_KIND_NOTIFICATION
    assert json.loads(message.json) == {
        "jsonrpc": "2.0",
        "method": "notifications/progress",
        "params": {"progress": 1},
    }
    assert "params" not in json.loads(notification_event("x", None).message.json)


def test_a_request_of_the_server_has_its_id() -> None:
    message = request_event(7, "roots/list", None).message
    assert message.kind == MessageKind.MESSAGE_KIND_REQUEST
    assert json.loads(message.json) == {"jsonrpc": "2.0", "id": 7, "method": "roots/list"}


@pytest.mark.parametrize(
    ("value", "tool_error"),
    [({}, False), ({"isError": True}, True), ({"isError": False}, False), ({"isError": 1}, False)],
)
def test_a_result_says_whether_its_tool_failed(value: dict[str, Any], tool_error: bool) -> None:
    message = answer_event("a", Result(value)).message
    assert message.kind == MessageKind.MESSAGE_KIND_RESULT
    assert message.tool_error is tool_error
    assert not message.HasField("error_code")
    assert json.loads(message.json) == {"jsonrpc": "2.0", "id": "a", "result": value}


def test_an_error_carries_its_code_beside_the_message() -> None:
    message = answer_event(0, Failed(-32602, "no such tool", {"tool": "x"})).message
    assert (message.kind, message.error_code) == (MessageKind.MESSAGE_KIND_ERROR, -32602)
    assert json.loads(message.json) == {
        "jsonrpc": "2.0",
        "id": 0,
        "error": {"code": -32602, "message": "no such tool", "data": {"tool": "x"}},
    }


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Result({"a": float("nan")}), id="nan"),
        pytest.param(Result({"a": object()}), id="object"),
        pytest.param(Result({"a": b"secret"}), id="bytes"),
        pytest.param(Result(cyclic()), id="cycle"),
        pytest.param(Result(nested(100_000)), id="deep"),
        pytest.param(Failed(-32000, "secret", float("inf")), id="data-infinite"),
        pytest.param(Failed(-32000, "secret", {1, 2}), id="data-a-set"),
        pytest.param(Failed(2**40, "secret"), id="code-too-large"),
    ],
)
def test_an_answer_that_cannot_be_written_becomes_an_internal_error(
    answer: Result | Failed, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        message = answer_event(5, answer).message
    assert (message.kind, message.error_code) == (MessageKind.MESSAGE_KIND_ERROR, INTERNAL_ERROR)
    body = json.loads(message.json)
    assert body["id"] == 5
    assert body["error"]["message"] == "Internal server error"
    assert "secret" not in message.json
    assert body["error"]["data"]["correlationId"] in caplog.text


@pytest.mark.parametrize("letter", ["a", "é", "😀"])
def test_an_answer_over_the_limit_in_bytes_becomes_an_internal_error(
    letter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = answer_event(1, Result({"text": letter * 100})).message.json
    monkeypatch.setattr(events, "MAX_ANSWER_BYTES", len(fits.encode()))
    assert answer_event(1, Result({"text": letter * 100})).message.json == fits
    too_large = answer_event(1, Result({"text": letter * 100 + "a"})).message
    assert too_large.error_code == INTERNAL_ERROR
    assert json.loads(too_large.json)["error"]["data"]["correlationId"]


@pytest.mark.parametrize("letter", ["a", "é", "😀"])
def test_a_message_on_the_way_over_the_limit_in_bytes_fails_in_its_handler(
    letter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"text": letter * 100}
    for build in (notification_event, partial(request_event, 1)):
        fits = build("x", params).message.json
        monkeypatch.setattr(events, "MAX_ANSWER_BYTES", len(fits.encode()))
        assert build("x", params).message.json == fits
        with pytest.raises(ValueError, match="bytes"):
            build("x", {"text": letter * 100 + "a"})
        monkeypatch.undo()


def test_every_message_is_one_line() -> None:
    text = answer_event(1, Result({"text": "a\nb\r\nc\u2028d\x85e\x00"})).message.json
    assert not {"\n", "\r", "\x00"} & set(text)
    assert json.loads(text)["result"]["text"] == "a\nb\r\nc\u2028d\x85e\x00"
