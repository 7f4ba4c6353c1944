"""A person with curl sees which trace to open."""

from pathlib import Path

import httpx2
import pytest
from tests.requirements import requirement
from tests.support.mcp_http import BOTH, call, http_session
from tests.support.stack import Stack, running_stack

from linkspan_propagation.testing import ExportedSpan, OtlpReceiver

TRACE = "0af7651916cd43dd8448eb211c80319d"


def told(response: httpx2.Response, receiver: OtlpReceiver) -> ExportedSpan:
    """Return the span that a response names."""
    version, trace_id, span_id, flags = response.headers["traceresponse"].split("-")
    assert (version, flags) in {("00", "01"), ("00", "03")}

    def named(spans: list[ExportedSpan]) -> list[ExportedSpan]:
        return [span for span in spans if (span.trace_id, span.span_id) == (trace_id, span_id)]

    (span,) = named(receiver.wait_for(lambda spans: bool(named(spans)), what=span_id))
    assert span.name == "mcp.request"
    return span


@requirement("trace.response")
def test_every_answer_names_its_span(stack: Stack, receiver: OtlpReceiver) -> None:
    with http_session(stack.mcp) as session:
        context = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        answered = session.post(call("add", {"a": 1, "b": 2}), **context)
        assert told(answered, receiver).trace_id == TRACE
        counting = call("count", {"to": 1, "every_seconds": 0.01})
        with session.http.stream(
            "POST", stack.mcp, json=counting, headers=session.headers
        ) as stream:
            assert stream.headers["content-type"] == "text/event-stream"
            stream.read()
        assert told(stream, receiver).attributes["mcp.tool.name"] == "count"
    refused = httpx2.post(stack.mcp, content=b"{", headers={"content-type": "application/json"})
    assert told(refused, receiver).attributes["http.response.status_code"] == refused.status_code
    unknown = httpx2.put(stack.mcp)
    assert told(unknown, receiver).attributes["http.request.method"] == "PUT"


def test_what_has_no_span_names_none(stack: Stack) -> None:
    for path in ("/healthz", "/readyz", "/nothing"):
        assert "traceresponse" not in httpx2.get(stack.http + path).headers


@pytest.mark.parametrize("context", [{}, {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}])
def test_where_nothing_is_traced_nothing_is_named(tmp_path: Path, context: dict[str, str]) -> None:
    with running_stack(tmp_path) as stack:
        headers = {"accept": BOTH, **context}
        assert "traceresponse" not in httpx2.put(stack.mcp, headers=headers).headers
