"""A process is killed in the middle of something long: what it and the others told of is one tree."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.requirements import requirement
from tests.support.mcp_http import BOTH, HttpSession, call, http_session
from tests.support.stack import Stack, running_stack

from linkspan_propagation.testing import (
    ExportedSpan,
    OtlpReceiver,
    assert_one_trace,
    draw_picture,
    traces,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CLIENT}-01"
LONG = 1000  # counts, every tenth of a second: more than any test waits

providers = pytest.mark.parametrize("tracing", ["lean", "sdk"])


def told(receiver: OtlpReceiver, *names: str) -> Callable[[], list[ExportedSpan]]:
    """Wait until spans of these names have come in our trace; returns what gives all of them now."""

    def have_come(spans: list[ExportedSpan]) -> bool:
        return set(names) <= {span.name for span in spans if span.trace_id == TRACE}

    receiver.wait_for(have_come, what=", ".join(names), timeout_seconds=20)
    return lambda: [span for span in receiver.spans() if span.trace_id == TRACE]


def begin_long_call(session: HttpSession, until: Callable[[], object]) -> None:
    """Begin a call that counts for long, and leave it when `until` returns."""
    message = call("count", {"to": LONG, "every_seconds": 0.1})
    headers = {**session.headers, "accept": BOTH, "traceparent": TRACEPARENT}
    with session.http.stream("POST", session.address, json=message, headers=headers) as response:
        assert response.status_code == 200
        until()


@providers
@requirement("tracing.start-marker")
def test_a_worker_killed_in_a_long_call_leaves_one_tree(tmp_path: Path, tracing: str) -> None:
    with OtlpReceiver() as receiver:
        with stack_with(tmp_path, receiver, tracing) as stack:
            with http_session(stack.mcp) as session:

                def until() -> None:
                    told(receiver, "mcp.request started", "tools/call count started")
                    stack.worker.kill()

                begin_long_call(session, until)
            left = told(receiver, "McpSession.handleRequest")()  # the handler runs on
        spans = assert_one_trace(left, remote_parents=[CLIENT])
    assert draw_picture(spans, attributes=["rpc.response.status_code", "mcp.tool.name"]) == (
        "trace 1\n"
        "  mcp.request SERVER [linkspan-worker] mcp.tool.name=count (began; its end never came) "
        "<- parent is not here\n"
        "  └─ McpSession.handleRequest SERVER [linkspan-session] rpc.response.status_code=CANCELLED\n"
        "     └─ tools/call count SERVER [linkspan-session] (began; its end never came)"
    )


@providers
@requirement("tracing.start-marker")
def test_a_session_server_killed_in_a_long_call_leaves_one_tree(
    tmp_path: Path, tracing: str
) -> None:
    with OtlpReceiver() as receiver:
        with stack_with(tmp_path, receiver, tracing, "--retry-for", "0.1") as stack:
            with http_session(stack.mcp) as session:

                def until() -> None:
                    told(receiver, "McpSession.handleRequest started", "tools/call count started")
                    stack.session.kill()

                begin_long_call(session, until)
            spans_now = told(receiver, "mcp.request")
            assert stack.worker.stop() == 0
        spans = assert_one_trace(spans_now(), remote_parents=[CLIENT])
    assert draw_picture(spans) == (
        "trace 1\n"
        "  mcp.request SERVER [linkspan-worker] <- parent is not here\n"
        "  └─ McpSession.handleRequest SERVER [linkspan-session] (began; its end never came)\n"
        "     └─ tools/call count SERVER [linkspan-session] (began; its end never came)"
    )


@requirement("tracing.start-marker")
def test_a_worker_killed_below_a_listening_stream_leaves_one_tree(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        with stack_with(tmp_path, receiver, "lean") as stack:
            with http_session(stack.mcp) as session:
                headers = {**session.headers, "accept": BOTH, "traceparent": TRACEPARENT}
                with session.http.stream("GET", session.address, headers=headers):
                    told(receiver, "mcp.request started", "McpSession.handleRequest started")
                    stack.worker.kill()
            spans_now = told(receiver, "McpSession.handleRequest")
            assert stack.session.stop() == 0
        spans = assert_one_trace(spans_now(), remote_parents=[CLIENT])
    assert [(span.name, span.is_open) for span in spans] == [
        ("mcp.request", True),
        ("McpSession.handleRequest", False),
    ]


@providers
def test_a_long_call_that_ends_is_drawn_without_its_markers(tmp_path: Path, tracing: str) -> None:
    with OtlpReceiver() as receiver:
        with stack_with(tmp_path, receiver, tracing) as stack:
            with http_session(stack.mcp) as session:
                begin_long_call(session, lambda: told(receiver, "mcp.request started"))
            told(receiver, "mcp.request")
            assert stack.worker.stop() == 0
            assert stack.session.stop() == 0
        spans = receiver.spans()
    assert "mcp.request started" in {span.name for span in spans}
    for trace in traces(spans).values():
        left = assert_one_trace(trace, remote_parents=[CLIENT])
        assert not [span for span in left if span.is_open or span.name.endswith(" started")]


def stack_with(
    folder: Path, receiver: OtlpReceiver, tracing: str, *worker_arguments: str
) -> AbstractContextManager[Stack]:
    return running_stack(
        folder,
        receiver=receiver,
        session_arguments=("--tracing", tracing, "--drain-timeout", "0.2"),
        worker_arguments=("--tracing", tracing, *worker_arguments),
    )
