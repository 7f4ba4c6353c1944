"""A wrong answer is seen, whichever byte of it is wrong, also when many right ones came before."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from bench.compare.asking import (
    Opening,
    Post,
    Repeated,
    Wording,
    WrongAnswerError,
    bodiless,
    calling,
    echoing,
    listing,
    new_ids,
    opening,
)
from bench.compare.lines import Answer

URL = "http://127.0.0.1:1/mcp"


def as_json(message: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status, b"application/json", b"", json.dumps(message).encode())


def as_stream(*messages: dict[str, Any], ids: bool = False) -> Answer:
    events = [f"{f'id: {message}'[:40]}\n" if ids else "" for message in messages]
    text = "".join(
        f"{event}data: {json.dumps(message)}\n\n"
        for event, message in zip(events, messages, strict=True)
    )
    return Answer(200, b"text/event-stream", b"", text.encode())


def echoed(digits: str, text: str | None = None, **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": text or digits}]
    return {"jsonrpc": "2.0", "id": int(digits), "result": {"content": content, **more}}


def test_each_request_has_its_own_id_and_its_own_text() -> None:
    message = json.loads(echoing("JSON").request(b"100000007"))
    assert message["id"] == 100000007
    assert message["params"] == {"name": "echo", "arguments": {"text": "100000007"}}


@pytest.mark.parametrize("answer", [as_json, as_stream])
def test_right_answers_are_taken(answer: Callable[[dict[str, Any]], Answer]) -> None:
    wording = echoing("JSON" if answer is as_json else "SSE")
    for digits in ("100000000", "100000001", "100000002"):
        wording.check(answer(echoed(digits)), digits.encode())


@pytest.mark.parametrize(
    "wrong",
    [
        as_json(echoed("100000001", text="100000000")),
        as_json({**echoed("100000001"), "id": 100000000}),
        as_json(echoed("100000001", isError=True)),
        as_json({"jsonrpc": "2.0", "id": 100000001, "error": {"code": -1, "message": "no"}}),
        as_json(echoed("100000001"), status=500),
        as_stream(echoed("100000001")),
        replace(as_json(echoed("100000001")), kind=b"text/plain"),
        Answer(200, b"application/json", b"", b'{"jsonrpc":'),
        Answer(200, b"application/json", b"", b"[]"),
    ],
)
@pytest.mark.parametrize("after", [0, 2])
def test_a_wrong_answer_is_seen(wrong: Answer, after: int) -> None:
    wording = echoing("JSON")
    for number in range(after):
        digits = f"10000010{number}"
        wording.check(as_json(echoed(digits)), digits.encode())
    with pytest.raises(WrongAnswerError):
        wording.check(wrong, b"100000001")


def test_a_stream_must_hold_the_answer_alone() -> None:
    with pytest.raises(WrongAnswerError):
        echoing("SSE").check(as_stream(echoed("100000001"), echoed("100000001")), b"100000001")
    with pytest.raises(WrongAnswerError):
        echoing("SSE").check(as_stream(), b"100000001")


def test_a_stream_whose_events_have_ids_is_read_event_by_event() -> None:
    wording = echoing("SSE")
    for digits in ("100000000", "100000001"):
        wording.check(as_stream(echoed(digits), ids=True), digits.encode())
    with pytest.raises(WrongAnswerError):
        wording.check(as_stream(echoed("100000002", text="x"), ids=True), b"100000002")


def test_a_long_text_must_be_the_whole_text() -> None:
    wording = calling("text10k", "abc", kind="JSON")
    wording.check(as_json(echoed("100000000", text="abc")), b"100000000")
    with pytest.raises(WrongAnswerError):
        wording.check(as_json(echoed("100000001", text="ab")), b"100000001")


def test_a_list_must_have_all_tools() -> None:
    def listed(number: int) -> Answer:
        tools = [{"name": f"tool{each}"} for each in range(number)]
        return as_json({"jsonrpc": "2.0", "id": 100000000, "result": {"tools": tools}})

    listing(3, "JSON").check(listed(3), b"100000000")
    with pytest.raises(WrongAnswerError):
        listing(3, "JSON").check(listed(2), b"100000000")


def opened(digits: str, head: bytes) -> Answer:
    result: dict[str, Any] = {"protocolVersion": "2025-11-25", "serverInfo": {}}
    answer = as_json({"jsonrpc": "2.0", "id": int(digits), "result": result})
    return Answer(200, answer.kind, head, answer.body)


SESSION = b"HTTP/1.1 200 OK\r\nmcp-session-id: abc\r\n\r\n"


def test_a_handshake_says_initialized_in_the_session_that_it_was_given() -> None:
    script = Opening(URL, opening("JSON"), new_ids(), whole=True)
    assert b'"initialize"' in script.begin()
    second = script.go_on(opened("100000000", SESSION))
    assert second is not None
    assert b"Mcp-Session-Id: abc\r\n" in second
    assert b"notifications/initialized" in second
    assert script.go_on(Answer(202, b"", b"", b"")) is None
    assert script.session == b"abc"


def test_a_handshake_without_a_session_or_with_a_refusal_is_wrong() -> None:
    script = Opening(URL, opening("JSON"), new_ids(), whole=True)
    script.begin()
    with pytest.raises(WrongAnswerError):
        script.go_on(opened("100000000", b"HTTP/1.1 200 OK\r\n\r\n"))
    script = Opening(URL, opening("JSON"), new_ids(), whole=True)
    script.begin()
    script.go_on(opened("100000000", SESSION))
    with pytest.raises(WrongAnswerError):
        script.go_on(Answer(400, b"", b"", b""))


def test_requests_say_their_length_and_which_kind_of_answer_they_prefer() -> None:
    script = Repeated(Post(URL, "SSE", b"abc"), Wording("ping", {}, _any, kind="SSE"), new_ids())
    head, _, body = script.begin().partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Accept: text/event-stream, application/json" in head
    assert bodiless("DELETE", URL, b"abc").startswith(b"DELETE /mcp HTTP/1.1\r\n")


def _any(_result: Any, _digits: str) -> bool:
    return True
