"""A trace backend as tests use it: the real process, spans made by hand, its API."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import grpc
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.support.processes import ServiceProcess, clean_environ

BEGAN: Final = 1_760_000_000_000_000_000
MILLI: Final = 1_000_000
PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

_SECONDS: Final = 40.0
_EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

Value = str | bool | int | float | bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Backend:
    """A running backend.

    Attributes:
        url: Its page, which also takes OTLP over HTTP.
        grpc: Its address for OTLP over gRPC.
        process: The process.
        data: Its folder.
    """

    url: str
    grpc: str
    process: ServiceProcess
    data: Path

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one HTTP request."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_SECONDS)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, fields, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **search: object) -> Any:
        """Return what the API answers, which must be good."""
        query = f"?{urlencode(search)}" if search else ""
        answer = self.ask("GET", f"/api/{path}{query}")
        assert answer.status == 200, (path, answer)
        return answer.json

    def ids(self, **search: object) -> list[str]:
        """Return the ids of the traces that are listed."""
        return [trace["trace_id"] for trace in self.get("traces", **search)["traces"]]

    def send(self, *spans: Span, service: str = "svc", form: str = PROTOBUF) -> Answer:
        """Export spans over HTTP."""
        request = export(*spans, service=service)
        body = request.SerializeToString() if form == PROTOBUF else json.dumps(as_json(request))
        return self.ask(
            "POST",
            "/v1/traces",
            body if isinstance(body, bytes) else body.encode(),
            {"content-type": form},
        )

    def send_grpc(self, body: bytes) -> ExportTraceServiceResponse:
        """Export bytes over gRPC."""
        with grpc.insecure_channel(self.grpc) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, ExportTraceServiceResponse]
            call = channel.unary_unary(
                _EXPORT, response_deserializer=ExportTraceServiceResponse.FromString
            )
            return call(body, timeout=_SECONDS)


@contextmanager
def running_backend(data: Path, *arguments: str) -> Generator[Backend]:
    """Run a backend on free ports until the block is left."""
    process = ServiceProcess(
        subprocess.Popen(
            [
                *(sys.executable, "-m", "linkspan_traces", "--data", str(data)),
                *("--port", "0", "--grpc-port", "0", *arguments),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environ(),
        )
    )
    try:
        addresses = process.wait_ready()
        yield Backend(addresses["traces"], addresses["grpc"], process, data)
    finally:
        process.kill()


def new_id(size: int) -> bytes:
    """Make an id that no other test has."""
    return os.urandom(size)


def span(
    trace: bytes,
    name: str = "work",
    *,
    parent: Span | bytes | None = None,
    span_id: bytes | None = None,
    kind: str = "INTERNAL",
    start: float = 0.0,
    took: float = 10.0,
    error: str | None = None,
    links: tuple[Span, ...] = (),
    **attributes: Value,
) -> Span:
    """Make a span.

    Args:
        trace: Its trace's id.
        name: Its name.
        parent: Its parent, or that one's id.
        span_id: Its id; None makes one.
        kind: Its kind.
        start: When it begins, in milliseconds after `BEGAN`.
        took: How long it takes, in milliseconds; negative for one that is open.
        error: The words of an ERROR.
        links: What it links to.
        attributes: Its attributes, with `__` for a dot.
    """
    made = Span(
        trace_id=trace,
        span_id=span_id or new_id(8),
        parent_span_id=parent.span_id if isinstance(parent, Span) else parent or b"",
        name=name,
        kind=Span.SpanKind.Value(f"SPAN_KIND_{kind}"),
        start_time_unix_nano=BEGAN + round(start * MILLI),
        end_time_unix_nano=0 if took < 0 else BEGAN + round((start + took) * MILLI),
        attributes=[pair(key.replace("__", "."), value) for key, value in attributes.items()],
        links=[Span.Link(trace_id=each.trace_id, span_id=each.span_id) for each in links],
    )
    if error is not None:
        made.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=error))
    return made


def pair(key: str, value: Value) -> KeyValue:
    """Make an attribute."""
    match value:
        case bool():
            return KeyValue(key=key, value=AnyValue(bool_value=value))
        case int():
            return KeyValue(key=key, value=AnyValue(int_value=value))
        case float():
            return KeyValue(key=key, value=AnyValue(double_value=value))
        case bytes():
            return KeyValue(key=key, value=AnyValue(bytes_value=value))
        case _:
            return KeyValue(key=key, value=AnyValue(string_value=value))


def export(*spans: Span, service: str = "svc") -> ExportTraceServiceRequest:
    """Make an export request of the spans of one service."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.append(pair("service.name", service))
    scope = resource.scope_spans.add()
    scope.scope.name = "tests"
    scope.spans.extend(spans)
    return request


def as_json(request: ExportTraceServiceRequest) -> dict[str, Any]:
    """Write a request as OTLP's JSON has it: ids in hex, enumerations as numbers."""
    written: dict[str, Any] = json_format.MessageToDict(request, use_integers_for_enums=True)
    for resource, source in zip(
        written.get("resourceSpans", []), request.resource_spans, strict=True
    ):
        for scope, scope_source in zip(resource["scopeSpans"], source.scope_spans, strict=True):
            for each, made in zip(scope.get("spans", []), scope_source.spans, strict=True):
                each["traceId"] = made.trace_id.hex()
                each["spanId"] = made.span_id.hex()
                if made.parent_span_id:
                    each["parentSpanId"] = made.parent_span_id.hex()
                for link, linked in zip(each.get("links", []), made.links, strict=True):
                    link["traceId"] = linked.trace_id.hex()
                    link["spanId"] = linked.span_id.hex()
    return written
