"""Spans come in over gRPC and HTTP, in protobuf and JSON, and are the same afterwards."""

import gzip
import json
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from tests.requirements import requirement
from tests.traces.backend import JSON, PROTOBUF, Backend, as_json, export, new_id, pair, span

HEADERS = {PROTOBUF: {"content-type": PROTOBUF}, JSON: {"content-type": JSON}}


def deep_json(depth: int) -> bytes:
    """Write an export whose one attribute is a list in a list, so deep."""
    value = '{"arrayValue": {"values": [' * depth + "{}" + "]}}" * depth
    span = '{"traceId": "%s", "spanId": "%s", "startTimeUnixNano": "1", "attributes": [%s]}'
    attribute = f'{{"key": "deep", "value": {value}}}'
    spans = span % ("d" * 32, "e" * 16, attribute)
    return f'{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{spans}]}}]}}]}}'.encode()


def rich(trace: bytes) -> Any:
    """Make a request with one of everything."""
    elsewhere = span(new_id(16))
    root = span(trace, "root", kind="SERVER", took=20, span_id=b"rootroot", text="è ü 漢", count=7)
    root.attributes.append(pair("big", -(2**62)))
    root.attributes.append(pair("ratio", 0.5))
    root.attributes.append(pair("flag", True))
    root.attributes.append(pair("raw", b"\x00\xff"))
    several = root.attributes.add(key="several").value.array_value
    several.values.add(string_value="a")
    several.values.add(int_value=2**53 + 1)
    root.attributes.add(key="nested").value.kvlist_value.values.append(pair("deep", 1.0))
    root.attributes.add(key="nothing")
    root.events.add(name="seen", time_unix_nano=root.start_time_unix_nano + 5).attributes.append(
        pair("n", 1)
    )
    child = span(
        trace, "child", parent=root, span_id=b"childchi", kind="CLIENT", start=3, took=4, error="no"
    )
    child.links.add(trace_id=new_id(16), span_id=elsewhere.span_id)
    child.links[0].trace_id = elsewhere.trace_id
    child.trace_state = "a=b"
    child.flags = 0x301
    child.dropped_attributes_count = 3
    return export(root, child, service="rich")


def stored(backend: Backend, trace: bytes) -> tuple[Any, ...]:
    """Return all that the backend says of a trace, but for its id and when it came."""
    path = f"traces/{trace.hex()}"
    waterfall = backend.get(path)
    details = [backend.get(f"{path}/spans/{row['span_id']}") for row in waterfall["spans"]]
    otlp = backend.get(f"{path}/otlp")
    everything = json.dumps([waterfall["spans"], details, otlp]).replace(trace.hex(), "ID")
    links = [each["links"] for each in details]
    for each in links:
        for link in each:
            everything = everything.replace(link["trace_id"], "LINKED").replace(
                link["span_id"], "LINKED"
            )
    return (json.loads(everything),)


@requirement("traces.intake")
def test_grpc_protobuf_and_json_leave_the_same_trace(backend: Backend) -> None:
    by_grpc, by_protobuf, by_json, by_gzip = (new_id(16) for _ in range(4))
    backend.send_grpc(rich(by_grpc).SerializeToString())
    answers = [
        backend.ask("POST", "/v1/traces", rich(by_protobuf).SerializeToString(), HEADERS[PROTOBUF]),
        backend.ask(
            "POST", "/v1/traces", json.dumps(as_json(rich(by_json))).encode(), HEADERS[JSON]
        ),
        backend.ask(
            "POST",
            "/v1/traces",
            gzip.compress(rich(by_gzip).SerializeToString()),
            {**HEADERS[PROTOBUF], "content-encoding": "gzip"},
        ),
    ]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert answers[0].headers["content-type"] == PROTOBUF
    assert answers[0].body == b""  # of full success
    assert answers[1].headers["content-type"] == JSON
    assert answers[1].json == {}
    first = stored(backend, by_grpc)
    assert first == stored(backend, by_protobuf)
    assert first == stored(backend, by_json)
    assert first == stored(backend, by_gzip)


@requirement("traces.json")
def test_a_trace_comes_out_as_otlp_as_it_went_in(backend: Backend) -> None:
    trace = new_id(16)
    request = rich(trace)
    backend.send_grpc(request.SerializeToString())
    out = backend.get(f"traces/{trace.hex()}/otlp")
    again = new_id(16)
    text = json.dumps(out).replace(trace.hex(), again.hex())
    assert backend.ask("POST", "/v1/traces", text.encode(), HEADERS[JSON]).status == 200
    (first,), (second,) = stored(backend, trace), stored(backend, again)
    assert first[1:] == second[1:]
    attributes = {each["key"]: each for each in first[1][0]["attributes"]}
    assert attributes["big"] == {"key": "big", "type": "int", "text": str(-(2**62))}
    assert attributes["several"]["text"] == f'["a", {2**53 + 1}]'
    assert attributes["nested"] == {"key": "nested", "type": "map", "text": '{"deep": 1.0}'}
    assert attributes["raw"]["text"] == "AP8="


@requirement("traces.intake")
@pytest.mark.parametrize("over", ["grpc", "http", "http gzip"])
def test_the_exporters_of_opentelemetry_are_understood(backend: Backend, over: str) -> None:
    exporter: SpanExporter
    if over == "grpc":
        exporter = GrpcExporter(endpoint=f"http://{backend.grpc}", insecure=True)
    else:
        exporter = HttpExporter(
            endpoint=f"{backend.url}/v1/traces",
            compression=Compression.Gzip if "gzip" in over else Compression.NoCompression,
        )
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("tests").start_as_current_span("made by the SDK") as made:
        trace_id = f"{made.get_span_context().trace_id:032x}"
    provider.shutdown()
    (row,) = backend.get(f"traces/{trace_id}")["spans"]
    assert row["name"] == "made by the SDK"


@requirement("traces.partial")
def test_bad_spans_are_counted_and_the_others_kept(backend: Backend) -> None:
    trace = new_id(16)
    bad = [span(bytes(16)), span(b"short"), span(trace, span_id=bytes(8)), span(trace, parent=b"x")]
    endless = span(trace)
    endless.start_time_unix_nano = 2**64 - 1
    timeless = span(trace)
    timeless.start_time_unix_nano = 0
    request = export(span(trace, "good"), *bad, endless, timeless)
    response = backend.send_grpc(request.SerializeToString())
    assert response.partial_success.rejected_spans == 6
    assert "trace id" in response.partial_success.error_message
    answer = backend.ask("POST", "/v1/traces", request.SerializeToString(), HEADERS[PROTOBUF])
    told = ExportTraceServiceResponse.FromString(answer.body)
    assert (answer.status, told.partial_success.rejected_spans) == (200, 6)
    answer = backend.ask("POST", "/v1/traces", json.dumps(as_json(request)).encode(), HEADERS[JSON])
    assert answer.json["partialSuccess"]["rejectedSpans"] == "6"
    assert [row["name"] for row in backend.get(f"traces/{trace.hex()}")["spans"]] == ["good"]


def test_a_span_that_comes_twice_is_there_once_and_an_ended_one_stays_ended(
    backend: Backend,
) -> None:
    trace, span_id = new_id(16), new_id(8)
    for took in (-1.0, 10.0, 10.0, -1.0):
        backend.send(span(trace, "long", span_id=span_id, took=took))
    (row,) = backend.get(f"traces/{trace.hex()}")["spans"]
    assert (row["duration_nanos"], row.get("open")) == (10_000_000, None)


@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("GET", {}, b"", 405),
        ("PUT", HEADERS[PROTOBUF], b"", 405),
        ("POST", {"content-type": "text/plain"}, b"{}", 415),
        ("POST", {}, b"{}", 415),
        ("POST", {**HEADERS[JSON], "content-encoding": "br"}, b"{}", 415),
        ("POST", HEADERS[PROTOBUF], b"\xff\xff", 400),
        ("POST", HEADERS[JSON], b"{", 400),
        ("POST", HEADERS[JSON], b"[]", 400),
        ("POST", HEADERS[JSON], b"\xff", 400),
        ("POST", HEADERS[JSON], b"[" * 100_000, 400),
        ("POST", HEADERS[JSON], b'{"resourceSpans": {}}', 400),
        ("POST", HEADERS[JSON], b'{"resourceSpans": [[]]}', 400),
        (
            "POST",
            HEADERS[JSON],
            b'{"resource_spans": [{"scope_spans": [{"spans": [{"name": "x"}]}]}]}',
            400,
        ),
        (
            "POST",
            HEADERS[JSON],
            b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}',
            400,
        ),
        ("POST", {**HEADERS[JSON], "content-encoding": "gzip"}, b"plain", 400),
        (
            "POST",
            {**HEADERS[JSON], "content-encoding": "gzip"},
            gzip.compress(b"{}", mtime=0)[:-4],
            400,
        ),
        ("POST", HEADERS[JSON], deep_json(200), 400),
        ("POST", HEADERS[JSON], deep_json(20_000), 400),
        ("POST", HEADERS[JSON], deep_json(20), 200),
        ("POST", HEADERS[JSON], b"{}", 200),
        ("POST", {"content-type": "application/json; charset=utf-8"}, b'{"unknown": 1}', 200),
        ("POST", HEADERS[PROTOBUF], b"", 200),
    ],
    ids=lambda value: value[:10].hex() if isinstance(value, bytes) else None,
)
def test_what_is_no_export_is_refused_with_a_status_in_its_own_form(
    backend: Backend, method: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = backend.ask(method, "/v1/traces", body, headers)
    assert answer.status == status, answer
    if status == 405:
        assert answer.headers["allow"] == "POST"
    if status >= 400:
        told = Status()
        if headers.get("content-type") == PROTOBUF:
            assert answer.headers["content-type"] == PROTOBUF
            told.ParseFromString(answer.body)
        else:
            assert answer.headers["content-type"] == JSON
            json_format.Parse(answer.body, told)
        assert told.message
        assert told.code


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/logs", "/v1/traces/", "/api/nothing", "/no"])
def test_other_paths_are_not_found(backend: Backend, path: str) -> None:
    assert backend.ask("GET", path).status == 404


def test_what_is_no_export_over_grpc_is_the_callers_fault(backend: Backend) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        backend.send_grpc(b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
