"""How far a caller's trace is trusted; what its baggage and its headers become."""

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.requirements import requirement
from tests.support.apps import TELLING
from tests.support.mcp_http import HttpSession, call, http_session
from tests.support.processes import linkspan
from tests.support.stack import Stack, running_stack

from linkspan.session.v1.session_service_pb2 import InitRequest
from linkspan.session.v1.session_service_pb2_grpc import SessionServiceStub
from linkspan_propagation.testing import ExportedSpan, OtlpReceiver, assert_one_trace

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
META_TRACE = "11111111111111111111111111111111"
META_SPAN = "2222222222222222"
SECRET = "s3cr3t-v4lue"  # noqa: S105 - what must not be found

providers = pytest.mark.parametrize("tracing", ["lean", "sdk"])


@contextmanager
def stack_with(
    folder: Path, receiver: OtlpReceiver, *worker: str, tracing: str = "lean", **env: str
) -> Generator[tuple[Stack, HttpSession]]:
    """Run a stack and a session in it; both processes are stopped, and so flushed, at the end."""
    choice = ("--tracing", tracing)
    with running_stack(
        folder,
        app=TELLING,
        receiver=receiver,
        worker_arguments=(*worker, *choice),
        session_arguments=choice,
        env=env,
    ) as stack:
        with http_session(stack.mcp) as session:
            yield stack, session
        assert stack.worker.stop() == 0
        assert stack.session.stop() == 0


def context(*, sampled: bool, trace_id: str = TRACE) -> dict[str, str]:
    return {
        "traceparent": f"00-{trace_id}-{SPAN}-{'01' if sampled else '00'}",
        "tracestate": "a=1",
        "baggage": "tenant=blue",
    }


def in_trace(receiver: OtlpReceiver, trace_id: str = TRACE) -> list[ExportedSpan]:
    return [span for span in receiver.spans() if span.trace_id == trace_id]


def tell_baggage(session: HttpSession, **headers: str) -> Any:
    answer = session.post(call("baggage_of", {"name": "tenant"}), **headers)
    assert answer.status_code == 200, answer.text
    text = answer.text.partition("data: ")[2] or answer.text
    return json.loads(text)["result"]["content"][0]["text"]


@pytest.fixture(scope="module", params=["lean", "sdk"])
def followed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[bool, list[ExportedSpan]]:
    """What is told in the traces of two callers, by whether the caller has its trace kept."""
    trace_ids = {True: TRACE, False: META_TRACE}
    with OtlpReceiver() as receiver:
        folder = tmp_path_factory.mktemp("followed")
        with stack_with(folder, receiver, tracing=request.param) as (_, session):
            for sampled, trace_id in trace_ids.items():
                assert (
                    tell_baggage(session, **context(sampled=sampled, trace_id=trace_id)) == "blue"
                )
        return {sampled: in_trace(receiver, trace_id) for sampled, trace_id in trace_ids.items()}


@requirement("trace.sampling", "trace.baggage")
@pytest.mark.parametrize("sampled", [True, False])
def test_a_caller_that_is_followed_says_whether_its_trace_is_kept(
    followed: Mapping[bool, list[ExportedSpan]], sampled: bool
) -> None:
    assert len(followed[sampled]) == (3 if sampled else 0)


@providers
@requirement("trace.sampling")
@pytest.mark.parametrize(
    ("sampler", "sampled", "kept"),
    [("parentbased_always_on", False, 3), ("parentbased_always_off", True, 0)],
)
def test_resampling_decides_anew_in_the_callers_trace(
    tmp_path: Path, tracing: str, sampler: str, sampled: bool, kept: int
) -> None:
    arguments = ("--caller-trace", "resample")
    with OtlpReceiver() as receiver:
        with stack_with(
            tmp_path, receiver, *arguments, tracing=tracing, OTEL_TRACES_SAMPLER=sampler
        ) as (_, session):
            assert tell_baggage(session, **context(sampled=sampled)) == "blue"
        spans = in_trace(receiver)
    assert len(spans) == kept
    if kept:
        ordered = assert_one_trace(spans, remote_parents=[SPAN])
        assert ordered[0].parent_span_id == SPAN
        assert {span.trace_state for span in ordered} == {"a=1"}


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtlpReceiver]:
    """What is told where callers are linked to, of one with a context and of one with two."""
    with OtlpReceiver() as receiver:
        folder = tmp_path_factory.mktemp("linked")
        with stack_with(folder, receiver, "--caller-trace", "link") as (_, session):
            assert tell_baggage(session, **context(sampled=False)) == "blue"
            message = call("baggage_of", {"name": "tenant"})
            message["params"]["_meta"] = {"traceparent": f"00-{META_TRACE}-{META_SPAN}-01"}
            assert session.post(message, **context(sampled=True)).status_code == 200
        yield receiver


@requirement("trace.public-endpoint", "trace.baggage")
def test_a_caller_that_is_linked_to_has_no_say_in_our_trace(linked: OtlpReceiver) -> None:
    assert in_trace(linked) == []
    (request,) = [
        span for span in linked.spans() if [each.span_id for each in span.links] == [SPAN]
    ]
    spans = assert_one_trace(in_trace(linked, request.trace_id))
    assert (request.name, request.parent_span_id, request.links[0].trace_id) == (
        "mcp.request",
        "",
        TRACE,
    )
    assert [span.name for span in spans] == [
        "mcp.request",
        "McpSession.handleRequest",
        "tools/call baggage_of",
    ]


@requirement("trace.public-endpoint")
def test_both_contexts_of_a_caller_become_links(linked: OtlpReceiver) -> None:
    of_one, of_two = (
        [(each.trace_id, each.span_id) for each in span.links]
        for span in linked.spans()
        if span.links
    )
    assert in_trace(linked) == in_trace(linked, META_TRACE) == []
    assert of_one == [(TRACE, SPAN)]
    assert of_two == [(META_TRACE, META_SPAN), (TRACE, SPAN)]


# --- headers and metadata -----------------------------------------------------------------------


@requirement("trace.capture", "trace.no-secrets")
def test_the_headers_that_are_named_are_told_and_no_others(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        arguments = ("--capture-headers", "X-Tenant, x-long,x-absent")
        with stack_with(tmp_path, receiver, *arguments) as (stack, session):
            headers = [
                *session.headers.items(),
                *context(sampled=True).items(),
                ("x-tenant", "blue"),
                ("X-Tenant", "green"),
                ("x-long", "l" * 300),
                ("x-other", SECRET),
                ("authorization", SECRET),
                ("cookie", SECRET),
            ]
            message = call("baggage_of", {"name": "tenant"})
            answer = session.http.post(stack.mcp, json=message, headers=headers)
            assert answer.status_code == 200
        spans = in_trace(receiver)
        (request,) = [span for span in spans if span.name == "mcp.request"]
        assert SECRET not in repr(receiver.spans())
    told = {name for name in request.attributes if name.startswith("mcp.http.header.")}
    assert told == {"mcp.http.header.names", "mcp.http.header.x-tenant", "mcp.http.header.x-long"}
    assert request.attributes["mcp.http.header.x-tenant"] == "blue, green"
    assert request.attributes["mcp.http.header.x-long"] == "l" * 256


@requirement("trace.capture")
def test_the_metadata_that_are_named_are_told_and_no_others(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        with running_stack(
            tmp_path, receiver=receiver, session_arguments=("--capture-metadata", "x-tenant")
        ) as stack:
            with grpc.insecure_channel(stack.grpc) as channel:
                metadata = (
                    ("x-tenant", "blue"),
                    ("authorization", SECRET),
                    ("traceparent", f"00-{TRACE}-{SPAN}-01"),
                )
                request = InitRequest(session_id="by-hand")
                SessionServiceStub(channel).Init(request, metadata=metadata, timeout=20)
            assert stack.session.stop() == 0
        (span,) = in_trace(receiver)
    assert span.attributes["rpc.request.metadata.x-tenant"] == ("blue",)
    assert SECRET not in repr(span)


@requirement("trace.no-secrets")
@pytest.mark.parametrize(
    "command",
    [
        ("worker", "--capture-headers", "x-tenant,Authorization"),
        ("session", "--capture-metadata", "mcp-session-id"),
    ],
)
def test_what_may_hold_a_secret_is_not_captured_however_much_it_is_wanted(
    command: tuple[str, ...],
) -> None:
    with linkspan(*command) as process:
        assert process.wait() == 2
        (line,) = process.errors
    assert command[1] in line
    assert "its values may be secrets" in line
