"""The guard: every request is exactly one trace across processes, as read from exported spans.

Black box: a client, a worker and a session server, each a process, export to one OTLP receiver;
they are stopped, so that all they had is there; and only then is anything looked at. Without it
the property is lost unseen: each side goes on serving, and emits a trace of its own.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from tests.requirements import requirement
from tests.support.processes import REPOSITORY, clean_environ
from tests.support.stack import Stack, running_stack

from linkspan_propagation.testing import (
    ExportedSpan,
    OtlpReceiver,
    assert_one_trace,
    draw_tree,
    traces,
)

CLIENT = REPOSITORY / "tests" / "peers" / "python" / "client.py"

CLIENT_TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"
META_TRACE = "11111111111111111111111111111111"
META_SPAN = "2222222222222222"
SECRET = "s3cr3t-t0k3n"  # noqa: S105 - what must not be found


@dataclass(frozen=True, slots=True)
class Recording:
    """All that was exported by the three processes, and what the client saw."""

    spans: list[ExportedSpan]
    watched: dict[str, Any]
    modern: dict[str, Any]
    crowd: dict[str, Any]

    def of_client(self, name: str, era: str = "watch") -> list[ExportedSpan]:
        """Return the trace of the thing that the client did under `name`."""
        roots = [span for span in self.spans if span.name == f"do {name}" and era_of(span) == era]
        (root,) = roots
        return [span for span in self.spans if span.trace_id == root.trace_id]

    def by_hand(self, name: str) -> list[ExportedSpan]:
        """Return the trace of the request that was sent by hand under `name`."""
        request = by_agent(self, name)
        return [span for span in self.spans if span.trace_id == request.trace_id]


def era_of(span: ExportedSpan) -> str:
    """Tell which run of the client a span belongs to."""
    return str(span.resource.get("test.mode", ""))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    with OtlpReceiver() as receiver:
        with running_stack(tmp_path_factory.mktemp("guard"), receiver=receiver) as stack:
            watched = run_client(stack, receiver, "watch")
            modern = run_client(stack, receiver, "modern")
            crowd = run_client(stack, receiver, "crowd")
            send_by_hand(stack)
            assert stack.worker.stop() == 0
            assert stack.session.stop() == 0
        yield Recording(receiver.spans(), watched, modern, crowd)


def run_client(stack: Stack, receiver: OtlpReceiver, mode: str) -> dict[str, Any]:
    environ = {
        **clean_environ(),
        **receiver.environ(),
        "OTEL_RESOURCE_ATTRIBUTES": f"test.mode={mode}",
    }
    done = subprocess.run(
        [sys.executable, str(CLIENT), stack.mcp, mode],
        env=environ,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def send_by_hand(stack: Stack) -> None:
    """Send what no SDK client sends: contexts of all kinds, and none; secrets; nonsense."""
    header = {"traceparent": f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01"}
    meta = {"traceparent": f"00-{META_TRACE}-{META_SPAN}-01"}
    broken = {"traceparent": "00-00000000000000000000000000000000-b7ad6b7169203331-01"}
    with httpx2.Client(timeout=30) as http:
        session = open_session(http, stack, "opening without a context")
        call(http, stack, session, "no context")
        call(http, stack, session, "header", headers=header)
        call(http, stack, session, "meta", meta=meta)
        call(http, stack, session, "header and meta", headers=header, meta=meta)
        call(http, stack, session, "broken header", headers=broken)
        call(
            http,
            stack,
            session,
            "upper case",
            headers={"traceparent": header["traceparent"].upper()},
        )
        call(
            http,
            stack,
            session,
            "secret",
            headers={"authorization": f"Bearer {SECRET}", "x-api-key": SECRET, "cookie": SECRET},
        )
        http.post(stack.mcp, content=b"{", headers=json_headers("refused"))
        http.put(stack.mcp, headers=json_headers("method refused"))
        http.delete(stack.mcp, headers={**json_headers("ended"), "mcp-session-id": session})


def json_headers(name: str) -> dict[str, str]:
    return {"user-agent": name, "content-type": "application/json"}


def open_session(http: httpx2.Client, stack: Stack, name: str) -> str:
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "by-hand", "version": "1"},
    }
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    response = http.post(stack.mcp, json=message, headers=json_headers(name))
    assert response.status_code == 200, response.text
    return response.headers["mcp-session-id"]


def call(
    http: httpx2.Client,
    stack: Stack,
    session: str,
    name: str,
    *,
    headers: dict[str, str] | None = None,
    meta: dict[str, str] | None = None,
) -> None:
    params: dict[str, Any] = {"name": "add", "arguments": {"a": 1, "b": 1}}
    if meta is not None:
        params["_meta"] = meta
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    response = http.post(
        stack.mcp,
        json=message,
        headers={**json_headers(name), "mcp-session-id": session, **(headers or {})},
    )
    assert response.status_code == 200, response.text


def outline(spans: list[ExportedSpan]) -> list[str]:
    """Draw a trace by names alone, indented by depth, siblings in order of start."""
    ids = {span.span_id for span in spans}
    children: dict[str, list[ExportedSpan]] = {}
    for span in sorted(spans, key=lambda span: span.start_unix_nanos):
        parent = span.parent_span_id if span.parent_span_id in ids else ""
        children.setdefault(parent, []).append(span)

    def draw(parent: str, depth: int) -> Iterator[str]:
        for span in children.get(parent, []):
            yield "  " * depth + span.name
            yield from draw(span.span_id, depth + 1)

    return list(draw("", 0))


def one(spans: list[ExportedSpan], name: str) -> ExportedSpan:
    named = [span for span in spans if span.name == name]
    assert len(named) == 1, f"{len(named)} spans {name!r}\n{draw_tree(spans)}"
    return named[0]


TOOL_CALL = """\
do {do}
  MCP send tools/call {tool}
    mcp.request
      McpSession.handleRequest
        tools/call {tool}"""

INITIALIZE = """\
do initialize
  MCP send initialize
    mcp.request
      McpSession.init
      McpSession.handleRequest
        initialize"""

LIST = """\
do list
  MCP send tools/list
    mcp.request
      McpSession.handleRequest
        tools/list"""

UNKNOWN_METHOD = """\
do unknown-method
  mcp.request
    McpSession.handleRequest
      no/such/method"""


@requirement("trace.one")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("initialize", INITIALIZE),
        ("list", LIST),
        ("add", TOOL_CALL.format(do="add", tool="add")),
        ("fail", TOOL_CALL.format(do="fail", tool="fail")),
        ("cancel", TOOL_CALL.format(do="cancel", tool="count")),
        (
            "unknown-session",
            "do unknown-session\n  mcp.request\n    McpSession.handleRequest\n      session.restore",
        ),
        (
            "unknown-method",
            "do unknown-method\n  mcp.request\n    McpSession.handleRequest\n      no/such/method",
        ),
    ],
)
def test_what_the_client_did_is_one_trace_of_this_shape(
    recording: Recording, name: str, expected: str
) -> None:
    spans = assert_one_trace(recording.of_client(name))
    assert "\n".join(outline(spans)) == expected, draw_tree(spans)


def test_the_client_saw_the_right_answers(recording: Recording) -> None:
    assert recording.watched == {
        "list": True,
        "add": "5",
        "fail": "Error executing tool fail: no",
        "cancel": "cancelled",
        "unknown-session": [404, -32600],
        "unknown-method": [200, -32601],
    }
    assert recording.modern == {"add": "5", "cancel": "cancelled"}


@requirement("trace.one")
@pytest.mark.parametrize(("name", "tool"), [("add", "add"), ("cancel", "count")])
def test_a_call_without_a_session_is_one_trace_too(
    recording: Recording, name: str, tool: str
) -> None:
    spans = assert_one_trace(recording.of_client(name, era="modern"))
    assert "\n".join(outline(spans)) == TOOL_CALL.format(do=name, tool=tool), draw_tree(spans)


@requirement("trace.one")
def test_all_that_was_exported_is_whole_traces(recording: Recording) -> None:
    for spans in traces(recording.spans).values():
        if spans[0].trace_id in (CLIENT_TRACE, META_TRACE):
            continue  # several requests by hand named these; each is looked at by itself
        assert_one_trace(spans)


@requirement("trace.one")
def test_every_request_has_exactly_one_request_span(recording: Recording) -> None:
    session_spans = [span for span in recording.spans if span.name.startswith("McpSession.")]
    requests = {span.span_id for span in recording.spans if span.name == "mcp.request"}
    assert session_spans
    assert {span.parent_span_id for span in session_spans} <= requests


@requirement("trace.parent")
def test_session_spans_are_children_of_their_request_across_processes(
    recording: Recording,
) -> None:
    spans = recording.by_hand("opening without a context")
    request = one(spans, "mcp.request")
    for name in ("McpSession.init", "McpSession.handleRequest"):
        span = one(spans, name)
        assert span.trace_id == request.trace_id
        assert span.parent_span_id == request.span_id
        assert span.service_name == "linkspan-session"
    assert request.parent_span_id == ""
    assert request.service_name == "linkspan-worker"


@requirement("trace.one")
def test_a_request_without_a_context_is_a_root(recording: Recording) -> None:
    spans = assert_one_trace(recording.by_hand("no context"))
    assert outline(spans) == ["mcp.request", "  McpSession.handleRequest", "    tools/call add"]


@requirement("trace.header")
def test_the_clients_header_is_the_parent_of_the_request(recording: Recording) -> None:
    request = by_agent(recording, "header")
    assert (request.trace_id, request.parent_span_id) == (CLIENT_TRACE, CLIENT_SPAN)
    assert_one_trace(below(recording, request), remote_parents=[CLIENT_SPAN])


@requirement("trace.meta", "trace.tool-nests")
def test_the_clients_meta_is_the_parent_and_the_tool_still_nests(recording: Recording) -> None:
    request = by_agent(recording, "meta")
    assert (request.trace_id, request.parent_span_id) == (META_TRACE, META_SPAN)
    spans = assert_one_trace(below(recording, request), remote_parents=[META_SPAN])
    assert outline(spans) == ["mcp.request", "  McpSession.handleRequest", "    tools/call add"]


@requirement("trace.two-contexts", "trace.tool-nests")
def test_of_two_contexts_meta_is_the_parent_and_the_header_a_link(recording: Recording) -> None:
    request = by_agent(recording, "header and meta")
    assert (request.trace_id, request.parent_span_id) == (META_TRACE, META_SPAN)
    assert [(link.trace_id, link.span_id) for link in request.links] == [
        (CLIENT_TRACE, CLIENT_SPAN)
    ]
    spans = assert_one_trace(below(recording, request), remote_parents=[META_SPAN])
    assert outline(spans) == ["mcp.request", "  McpSession.handleRequest", "    tools/call add"]


@requirement("trace.malformed")
@pytest.mark.parametrize("name", ["broken header", "upper case"])
def test_a_malformed_header_is_ignored(recording: Recording, name: str) -> None:
    spans = assert_one_trace(recording.by_hand(name))
    assert one(spans, "mcp.request").parent_span_id == ""
    assert len(spans) == 3


@requirement("trace.refused")
@pytest.mark.parametrize(("name", "status"), [("refused", 400), ("method refused", 405)])
def test_a_refused_request_is_a_span(recording: Recording, name: str, status: int) -> None:
    (request,) = assert_one_trace(recording.by_hand(name))
    assert request.attributes["http.response.status_code"] == status
    assert request.attributes["mcp.rpc.is_error"] is True
    assert request.status_code == "UNSET"  # the fault is the client's


def test_what_went_well_is_told_as_well_on_both_sides(recording: Recording) -> None:
    spans = recording.of_client("add")
    request, handled = one(spans, "mcp.request"), one(spans, "McpSession.handleRequest")
    assert "error.type" not in request.attributes
    assert request.attributes["mcp.rpc.is_error"] is False
    assert request.attributes["http.response.status_code"] == 200
    assert handled.attributes["rpc.response.status_code"] == "OK"
    assert {span.status_code for span in spans} == {"UNSET"}


@requirement("trace.concurrent")
def test_two_hundred_concurrent_calls_share_no_trace(recording: Recording) -> None:
    assert recording.crowd == {"right": 200}
    roots = [span for span in recording.spans if span.name == "do echo"]
    assert len(roots) == 200
    by_trace = traces(recording.spans)
    expected = TOOL_CALL.format(do="echo", tool="echo").split("\n")
    for root in roots:
        assert outline(assert_one_trace(by_trace[root.trace_id])) == expected
    sessions = {
        str(span.attributes["mcp.session.id"])
        for root in roots
        for span in by_trace[root.trace_id]
        if span.name == "mcp.request"
    }
    assert len(sessions) == 20


@requirement("trace.no-secrets")
def test_no_secret_of_a_header_is_in_any_span(recording: Recording) -> None:
    request = by_agent(recording, "secret")
    assert request.attributes["mcp.auth.has_bearer"] is True
    assert request.attributes["mcp.auth.credential_length"] == len(SECRET)
    assert SECRET not in repr(recording.spans)


def test_a_cancelled_call_ends_with_its_error_in_the_same_trace(recording: Recording) -> None:
    request = one(recording.of_client("cancel"), "mcp.request")
    assert request.attributes["mcp.rpc.error.code"] == -32800


def test_a_failing_tool_is_told_in_the_request_span(recording: Recording) -> None:
    spans = recording.of_client("fail")
    assert one(spans, "mcp.request").attributes["mcp.tool.result.is_error"] is True
    assert one(spans, "tools/call fail").status_code == "ERROR"


def by_agent(recording: Recording, name: str) -> ExportedSpan:
    (request,) = [
        span
        for span in recording.spans
        if span.name == "mcp.request" and span.attributes.get("user_agent.original") == name
    ]
    return request


def below(recording: Recording, top: ExportedSpan) -> list[ExportedSpan]:
    """Return a span and all that descend from it."""
    found = [top]
    for span in found:
        found += [each for each in recording.spans if each.parent_span_id == span.span_id]
    return found
