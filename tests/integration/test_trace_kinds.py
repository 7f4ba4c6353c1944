"""The guard, for every further kind of message: each is one whole trace, linked to what caused it.

As in `test_trace_guard`: real processes, stopped before anything is looked at.
"""

from collections.abc import Iterator

import httpx2
import pytest
from tests.requirements import requirement
from tests.support.mcp_http import JsonObject, call, http_session
from tests.support.stack import Stack, running_stack

from linkspan_propagation.testing import (
    ExportedSpan,
    OtlpReceiver,
    assert_one_trace,
    draw_tree,
    traces,
)

ANSWER = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "hi"}}
CAPABILITIES: JsonObject = {"sampling": {}, "elicitation": {"form": {}}}


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ExportedSpan]]:
    with OtlpReceiver() as receiver:
        data = tmp_path_factory.mktemp("kinds")
        with running_stack(data, receiver=receiver) as stack:
            converse(stack)
            batch(stack)
            task(stack)
            assert stack.worker.stop() == 0
            assert stack.session.stop() == 0
        yield receiver.spans()


def converse(stack: Stack) -> None:
    """Be asked, listen, resume, subscribe, cancel, end."""
    with http_session(stack.mcp, capabilities=CAPABILITIES) as session:
        with session.listen() as listening:
            next(listening)
            with session.stream(call("test_sampling", {"prompt": "hello"})) as events:
                priming = next(events)
                asked = next(events).json
                session.post({"jsonrpc": "2.0", "id": asked["id"], "result": ANSWER})
                next(events)
        with session.listen(priming.id) as events:
            list(events)
        count = call("count", {"to": 1000, "every_seconds": 0.05}, id="to-be-cancelled")
        with session.stream(count) as events:
            next(events)
            params = {"requestId": "to-be-cancelled"}
            session.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
            assert [event for event in events if "-32800" in event.data]
        assert session.http.delete(stack.mcp, headers=session.headers).status_code == 200


def batch(stack: Stack) -> None:
    with http_session(stack.mcp, "2025-03-26") as session:
        calls = [call("add", {"a": 1, "b": 1}, id=number) for number in (1, 2)]
        assert session.post(calls).status_code == 200


def task(stack: Stack) -> None:
    """Begin a task and see it through."""
    meta: JsonObject = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {
            "extensions": {"io.modelcontextprotocol/tasks": {}}
        },
    }

    def ask(method: str, name: str, params: JsonObject) -> JsonObject:
        headers = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": method,
            "mcp-name": name,
        }
        message: JsonObject = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": method,
            "params": {**params, "_meta": meta},
        }
        answer = httpx2.post(stack.mcp, json=message, headers=headers, timeout=30)
        result: JsonObject = answer.json()["result"]
        return result

    tool = "slow_compute"
    created = ask("tools/call", tool, {"name": tool, "arguments": {"seconds": 0.1}})
    assert created["resultType"] == "task", created
    while ask("tasks/get", created["taskId"], {"taskId": created["taskId"]})["status"] == "working":
        pass


def outline(trace: list[ExportedSpan]) -> str:
    """Name the spans from the root down, in one line; siblings stand side by side."""
    children: dict[str, list[ExportedSpan]] = {}
    for span in trace:
        children.setdefault(span.parent_span_id, []).append(span)

    def draw(parent: str) -> str:
        below = [span.name + draw(span.span_id) for span in children.get(parent, [])]
        return f" > {' + '.join(below)}" if below else ""

    return draw("").removeprefix(" > ")


@requirement("trace.kinds", "trace.one")
def test_everything_that_was_exported_is_whole_traces(spans: list[ExportedSpan]) -> None:
    assert spans
    for trace in traces(spans).values():
        assert_one_trace(trace)


@requirement("trace.kinds")
@pytest.mark.parametrize(
    "expected",
    [
        "mcp.request > McpSession.handleRequest > tools/call test_sampling > sampling/createMessage",
        "mcp.request > McpSession.handleRequest > tools/call count",
        "mcp.request > McpSession.handleRequest > notifications/cancelled",
        "mcp.request > McpSession.handleRequest > tools/call add + tools/call add",
        "mcp.request > McpSession.handleRequest > tools/call slow_compute > task slow_compute",
        "mcp.request > McpSession.handleRequest > tasks/get",
        "mcp.request > McpSession.handleRequest",  # listening, resuming, replying, ending
    ],
)
def test_each_kind_of_message_has_its_tree(spans: list[ExportedSpan], expected: str) -> None:
    outlines = {outline(trace) for trace in traces(spans).values()}
    assert expected in outlines, draw_tree(spans)


@requirement("trace.kinds", "ask.trace", "resume.link")
def test_a_reply_and_a_resumed_stream_link_to_what_caused_them(spans: list[ExportedSpan]) -> None:
    by_id = {span.span_id: span for span in spans}
    causes = {by_id[link.span_id].name for span in spans for link in span.links}
    assert causes == {"sampling/createMessage", "McpSession.handleRequest"}
