"""Requests of the server to its client, answered in another POST, and the traces of both."""

import threading
from typing import Any

import pytest
from tests.requirements import requirement
from tests.support.mcp_http import JsonObject, call, http_session
from tests.support.stack import Stack

from linkspan_contract.session_digest import session_digest
from linkspan_propagation.testing import ExportedSpan, OtlpReceiver

SAMPLING = call("test_sampling", {"prompt": "hello"})
CAPABILITIES: JsonObject = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}}
ANSWER = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "hi there"}}


@requirement("session.server-asks", "ask.trace")
def test_the_answer_in_another_post_finds_the_handler_and_links_to_the_span_that_asked(
    stack: Stack, receiver: OtlpReceiver
) -> None:
    with (
        http_session(stack.mcp, capabilities=CAPABILITIES) as session,
        session.stream(SAMPLING) as events,
    ):
        next(events)  # the priming event
        asked = next(events).json
        assert asked["method"] == "sampling/createMessage"
        traceparent = asked["params"]["_meta"]["traceparent"]
        reply = session.post({"jsonrpc": "2.0", "id": asked["id"], "result": ANSWER})
        assert (reply.status_code, reply.content) == (202, b"")
        result = next(events).json
    assert "hi there" in result["result"]["content"][0]["text"]

    _, trace_id, span_id, _ = traceparent.split("-")
    spans = receiver.wait_for(
        lambda spans: bool(linked(spans, span_id)) and bool(by_id(spans, span_id)),
        what="the span that asked, and the one that links to it",
    )
    (asking,) = by_id(spans, span_id)
    assert (asking.trace_id, asking.kind) == (trace_id, "CLIENT")
    (request,) = linked(spans, span_id)
    assert request.name == "mcp.request"
    assert request.trace_id != trace_id


@requirement("ask.outcomes")
def test_the_first_answer_counts_and_a_second_is_dropped(stack: Stack) -> None:
    with (
        http_session(stack.mcp, capabilities=CAPABILITIES) as session,
        session.stream(SAMPLING) as events,
    ):
        next(events)
        asked = next(events).json
        for text in ("first", "second"):
            answer = {**ANSWER, "content": {"type": "text", "text": text}}
            message = {"jsonrpc": "2.0", "id": asked["id"], "result": answer}
            assert session.post(message).status_code == 202
        assert "first" in next(events).data


@requirement("ask.outcomes")
def test_an_answer_to_nothing_is_taken_and_dropped(stack: Stack) -> None:
    with http_session(stack.mcp) as session:
        response = session.post({"jsonrpc": "2.0", "id": 4711, "result": {}})
        assert (response.status_code, response.content) == (202, b"")
        assert "2" in session.post(call("add", {"a": 1, "b": 1})).text


@requirement("ask.outcomes")
def test_a_refusal_of_the_client_reaches_the_handler(stack: Stack) -> None:
    with (
        http_session(stack.mcp, capabilities=CAPABILITIES) as session,
        session.stream(SAMPLING) as events,
    ):
        next(events)
        asked = next(events).json
        error = {"code": -1, "message": "the user said no"}
        session.post({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        assert "the user said no" in next(events).data


@requirement("ask.outcomes")
def test_ending_the_session_ends_the_wait(stack: Stack) -> None:
    with (
        http_session(stack.mcp, capabilities=CAPABILITIES) as session,
        session.stream(SAMPLING) as events,
    ):
        next(events)
        next(events)
        assert session.http.delete(stack.mcp, headers=session.headers).status_code == 200
        assert next(events).json["error"]["code"] == -32000


@requirement("ask.outcomes", "http.json-only")
def test_a_client_that_takes_json_only_is_not_asked_and_does_not_hang(stack: Stack) -> None:
    with http_session(stack.mcp, capabilities=CAPABILITIES) as session:
        response = session.post(SAMPLING, accept="application/json")
    assert response.headers["content-type"] == "application/json"
    assert "back-channel" in response.text


@requirement("ask.outcomes")
def test_a_client_that_left_answers_after_coming_back(stack: Stack) -> None:
    with http_session(stack.mcp, capabilities=CAPABILITIES) as session:
        with session.stream(SAMPLING) as events:
            priming = next(events)
        with session.listen(priming.id) as events:
            next(events)
            asked = next(events).json
            session.post({"jsonrpc": "2.0", "id": asked["id"], "result": ANSWER})
            assert "hi there" in next(events).data


@requirement("session.server-asks")
def test_answers_of_concurrent_calls_do_not_cross(stack: Stack) -> None:
    heard: dict[str, str] = {}

    def converse(session: Any, name: str) -> None:
        with session.stream(call("test_sampling", {"prompt": name}, id=name)) as events:
            next(events)
            asked = next(events).json
            barrier.wait(timeout=30)
            answer = {**ANSWER, "content": {"type": "text", "text": f"to {name}"}}
            session.post({"jsonrpc": "2.0", "id": asked["id"], "result": answer})
            heard[name] = next(events).data

    barrier = threading.Barrier(4)
    with http_session(stack.mcp, capabilities=CAPABILITIES) as session:
        threads = [threading.Thread(target=converse, args=(session, f"n{n}")) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
    assert {name: f"to {name}" in text for name, text in heard.items()} == {
        f"n{n}": True for n in range(4)
    }


@requirement("resume.link")
def test_a_resumed_stream_links_to_the_request_that_made_it(
    stack: Stack, receiver: OtlpReceiver
) -> None:
    with http_session(stack.mcp) as session:
        message = call("count", {"to": 3, "every_seconds": 0.01})
        with session.stream(message) as events:
            seen = list(events)
        with session.listen(seen[1].id) as events:
            assert len(list(events)) == 4
        session_id = session.session_id

    def resumed(spans: list[ExportedSpan]) -> list[ExportedSpan]:
        return [
            span
            for span in spans
            if span.name == "mcp.request"
            and span.attributes.get("mcp.session.id") == session_digest(session_id)
            and span.attributes["http.request.method"] == "GET"
        ]

    spans = receiver.wait_for(
        lambda spans: any(
            by_id(spans, link.span_id) for request in resumed(spans) for link in request.links
        ),
        what="the resumed stream, and what it links to",
    )
    (request,) = resumed(spans)
    (link,) = request.links
    (made,) = by_id(spans, link.span_id)
    assert made.name == "McpSession.handleRequest"
    assert made.trace_id != request.trace_id
    said = [str(value) for span in spans for value in span.attributes.values()]
    assert not any(session_id in value for value in said), "an id is as good as a key"


def by_id(spans: list[ExportedSpan], span_id: str) -> list[ExportedSpan]:
    return [span for span in spans if span.span_id == span_id]


def linked(spans: list[ExportedSpan], span_id: str) -> list[ExportedSpan]:
    return [span for span in spans if any(link.span_id == span_id for link in span.links)]


@pytest.mark.parametrize("tool", ["test_elicitation", "test_elicitation_sep1034_defaults"])
@requirement("session.server-asks")
def test_elicitation_is_answered_in_another_post(stack: Stack, tool: str) -> None:
    with (
        http_session(stack.mcp, capabilities=CAPABILITIES) as session,
        session.stream(
            call(tool, {"message": "who?"} if tool == "test_elicitation" else {})
        ) as events,
    ):
        next(events)
        asked = next(events).json
        assert asked["method"] == "elicitation/create"
        session.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}})
        assert "decline" in next(events).data
