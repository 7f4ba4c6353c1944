"""The short way of `tools/call`: the same answers and the same spans as the SDK's runner."""

import asyncio
import datetime
import json
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.server import MCPServer, ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    Annotations,
    CallToolRequestParams,
    CallToolResult,
    ErrorData,
    ImageContent,
    TextContent,
)
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from linkspan_contract.envelope import JsonObject, Request
from linkspan_session.answer_streams import PlainStream
from linkspan_session.answers import Answer
from linkspan_session.exchange import Exchange
from linkspan_session.kernel import Call, hosting, lowlevel_server, plain
from linkspan_session.outlets import SilentOutlet
from linkspan_session.store import Handshake

VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")

Handler = Callable[[ServerRequestContext[Any], CallToolRequestParams], Awaitable[Any]]


class Colour(StrEnum):
    RED = "red"


@pytest.fixture(scope="module", name="spans")
def spans_of_the_sdks_tracer() -> InMemorySpanExporter:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("mcp-python-sdk")
    patch = pytest.MonkeyPatch()
    patch.setattr("mcp.shared._otel._tracer", tracer)
    patch.setattr(plain, "_tracer", tracer)
    return exporter


async def _pass_on(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Do nothing, in a way that the short way cannot know."""
    return await call_next(ctx)


async def answered(server: Server[Any], version: str, params: JsonObject) -> Answer:
    async with hosting(server) as hosted:
        outlet = SilentOutlet(PlainStream(Exchange()))
        handshake = Handshake(
            params_json=json.dumps(
                {
                    "protocolVersion": version,
                    "capabilities": {},
                    "clientInfo": {"name": "c", "version": "1"},
                }
            ),
            protocol_version=version,
            initialized=True,
        )
        connection = hosted.reconnect("id", outlet, handshake)
        call = Call(outlet, request_id=7, params=params, headers=())
        return await hosted.answer(connection, call, Request(7, "tools/call", params))


def told(span: ReadableSpan) -> object:
    """Return what a span says, but for its ids and times."""
    events = [
        (event.name, dict(event.attributes or {}).get("exception.message")) for event in span.events
    ]
    return (
        span.name,
        span.kind,
        span.status.status_code,
        span.status.description,
        dict(span.attributes or {}),
        events,
        span.parent is not None,
    )


def both_ways(
    server: Server[Any], version: str, params: JsonObject, spans: InMemorySpanExporter
) -> list[tuple[Answer, list[object]]]:
    """Answer the short way and the runner's; returns each answer and what its spans say."""
    found: list[tuple[Answer, list[object]]] = []
    for the_long_way in (False, True):
        if the_long_way:
            server.middleware.append(_pass_on)
        spans.clear()
        found.append(
            (
                asyncio.run(answered(server, version, params)),
                [told(span) for span in spans.get_finished_spans()],
            )
        )
    server.middleware.pop()
    return found


def returning(value: object) -> Server[Any]:
    async def handle(_: ServerRequestContext[Any], __: CallToolRequestParams) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    server: Server[Any] = Server("plain")
    server.add_request_handler("tools/call", CallToolRequestParams, handle)
    return server


TEXT: Final = TextContent(type="text", text="hello")

RESULTS: Final[list[object]] = [
    CallToolResult(content=[]),
    CallToolResult(content=[TEXT, TEXT], structured_content={"a": [1, {"b": None}, "c", True]}),
    CallToolResult(content=[TEXT], is_error=True),
    CallToolResult(content=[TEXT], structured_content={"day": datetime.date(2020, 1, 2)}),
    CallToolResult(content=[TEXT], structured_content={"colour": Colour.RED, "pair": (1, 2)}),
    CallToolResult(content=[TEXT], structured_content={"number": 0.1, "nan": float("nan")}),
    CallToolResult(content=[TEXT], structured_content={"many": list(range(1000))}),
    CallToolResult(content=[TEXT], _meta={"a": 1}),
    CallToolResult(
        content=[TextContent(type="text", text="x", annotations=Annotations(priority=1))]
    ),
    CallToolResult(content=[TextContent(type="text", text="x", _meta={"k": "v"})]),
    CallToolResult(content=[ImageContent(type="image", data="aGk=", mime_type="image/png")]),
    {"content": [{"type": "text", "text": "from a dict"}], "isError": True},
    {"content": "no list"},
    {"unknown": 1},
    ErrorData(code=-32001, message="meant", data={"x": 1}),
    None,
    "no result at all",
    MCPError(code=-32002, message="raised", data="d"),
    ValueError("a secret"),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("result", RESULTS, ids=str)
def test_whatever_a_handler_returns_both_ways_answer_the_same(
    result: object, version: str, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uuid.uuid4", type("Fixed", (), {"hex": "same"}))
    short, general = both_ways(returning(result), version, {"name": "t", "arguments": {}}, spans)
    assert short == general
    assert len(short[1]) == 1


PARAMS: Final[list[JsonObject]] = [
    {"name": "t"},
    {"name": ""},
    {"name": "t", "arguments": {"a": {"b": [1, None]}}},
    {"name": "t", "arguments": None},
    {"name": "t", "arguments": []},
    {"name": 1},
    {},
    {"name": "t", "extra": 1},
    {"name": "t", "_meta": {}},
    {"name": "t", "_meta": {"progressToken": "p"}},
    {"name": "t", "_meta": {"progressToken": 1.5}},
    {"name": "t", "_meta": {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}},
    {"name": "t", "_meta": {"com.example/key": 1}},
    {"name": "t", "_meta": None},
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_whatever_a_client_sends_the_handler_sees_the_same_both_ways(
    params: JsonObject, version: str, spans: InMemorySpanExporter
) -> None:
    seen: list[object] = []

    async def handle(
        context: ServerRequestContext[Any], typed: CallToolRequestParams
    ) -> CallToolResult:
        seen.append(
            (
                typed,
                context.meta,
                context.method,
                context.params,
                context.request_id,
                context.protocol_version,
                context.request,
                context.close_sse_stream,
            )
        )
        return CallToolResult(content=[TEXT])

    server: Server[Any] = Server("plain")
    server.add_request_handler("tools/call", CallToolRequestParams, handle)
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span(
        "ours", context=trace.set_span_in_context(trace.INVALID_SPAN)
    ):
        short, general = both_ways(server, version, params, spans)
    assert short == general
    assert len(seen) in (0, 2)
    assert seen[:1] == seen[1:]


JSON: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.text(), max_size=3), structured=st.none() | st.dictionaries(st.text(), JSON)
)
def test_any_text_and_any_structured_content_leave_the_same_both_ways(
    texts: list[str], structured: dict[str, Any] | None
) -> None:
    content = [TextContent(type="text", text=text) for text in texts]
    result = CallToolResult(content=list(content), structured_content=structured)
    short, general = both_ways(
        returning(result), "2025-11-25", {"name": "t"}, InMemorySpanExporter()
    )
    assert repr(short) == repr(general)  # NaN equals nothing, itself included


def test_the_tools_of_an_mcp_server_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    server = MCPServer("tools")

    @server.tool()
    async def add(a: int, b: int) -> int:
        return a + b

    taken: list[str] = []
    short_way = plain.call_plainly

    async def watched(*arguments: Any) -> JsonObject:
        taken.append("short")
        return await short_way(*arguments)

    monkeypatch.setattr("linkspan_session.kernel.hosted.call_plainly", watched)
    lowlevel = lowlevel_server(server)
    assert lowlevel is not None
    asyncio.run(answered(lowlevel, "2025-11-25", {"name": "add", "arguments": {"a": 1, "b": 2}}))
    assert taken == ["short"]
