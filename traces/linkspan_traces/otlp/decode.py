"""Export requests read: bytes, in protobuf or JSON, to spans.

Pure but for the protobuf library. Above lie the two doors, `http` and `grpc`, which hand bytes in.
Sources: https://opentelemetry.io/docs/specs/otlp/ and the comments of
`opentelemetry/proto/trace/v1/trace.proto`.
"""

import json
import zlib
from collections.abc import Iterator
from typing import Final, cast

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from linkspan_traces.errors import BadRequestError, TooLargeError
from linkspan_traces.model import KINDS, MAX_NANOS, STATUSES, Decoded, Received, Span
from linkspan_traces.otlp.facts import facts_of, service_of
from linkspan_traces.otlp.values import attributes_of, to_json

_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = 8
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS

_HAS_IS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
"""SpanFlags of trace.proto: whether the next bit says something, and whether the parent is remote."""

_MAX_NAME_CHARS: Final = 1024


def unpack(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo the content encoding of a body.

    Args:
        body: As it came.
        encoding: `gzip`, or `identity` or an empty string for none.
        max_bytes: How large it may be unpacked.

    Raises:
        BadRequestError: It is not what the encoding says.
        TooLargeError: It is larger unpacked.
    """
    if encoding in ("", "identity"):
        return body
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        plain = unpacker.decompress(body, max_bytes + 1)
    except zlib.error:
        raise BadRequestError("the body is not gzip") from None
    if len(plain) > max_bytes:
        raise TooLargeError(f"the body is larger than {max_bytes} bytes when unpacked")
    if not unpacker.eof:
        raise BadRequestError("the gzip body ends too early")
    return plain


def decode_protobuf(body: bytes) -> Decoded:
    """Read an `ExportTraceServiceRequest` in protobuf.

    Raises:
        BadRequestError: It is none.
    """
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise BadRequestError("the body is not an ExportTraceServiceRequest") from None
    return _decode(request)


def decode_json(body: bytes) -> Decoded:
    """Read an `ExportTraceServiceRequest` in JSON.

    Ids are hex here, where protobuf's own mapping has base64; unknown names are ignored.
    Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding

    Raises:
        BadRequestError: It is none.
    """
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(parsed, dict):
        raise BadRequestError("the body is not a JSON object")
    fields = cast("dict[str, object]", parsed)
    request = ExportTraceServiceRequest()
    ids: list[_Ids] = []
    try:
        _take_ids(fields, ids)
        json_format.ParseDict(fields, request, ignore_unknown_fields=True)
        _give_ids(request, ids)
    except (json_format.ParseError, ValueError, TypeError, AttributeError) as error:
        raise BadRequestError(f"the body is not OTLP: {str(error)[:200]}") from None
    return _decode(request)


# --- JSON ids ----------------------------------------------------------------------------------------

_Ids = tuple[bytes, bytes, bytes]


def _take_ids(parsed: dict[str, object], into: list[_Ids]) -> None:
    """Take the ids of spans and links out, in order, so that what is left is protobuf's JSON."""
    for resource in _objects(parsed, "resourceSpans"):
        for scope in _objects(resource, "scopeSpans"):
            for span in _objects(scope, "spans"):
                into.append(
                    (
                        _hex(span.pop("traceId", None)),
                        _hex(span.pop("spanId", None)),
                        _hex(span.pop("parentSpanId", None)),
                    )
                )
                into.extend(
                    (_hex(link.pop("traceId", None)), _hex(link.pop("spanId", None)), b"")
                    for link in _objects(span, "links")
                )


def _give_ids(request: ExportTraceServiceRequest, ids: list[_Ids]) -> None:
    left = iter(ids)

    def taken() -> _Ids:
        found = next(left, None)
        if found is None:  # protobuf's own mapping takes such names, too; OTLP's does not
            raise ValueError("names are not in lowerCamelCase")
        return found

    for span in _spans_of(request):
        span.trace_id, span.span_id, span.parent_span_id = taken()
        for link in span.links:
            link.trace_id, link.span_id, _ = taken()


def _spans_of(request: ExportTraceServiceRequest) -> Iterator[OtlpSpan]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


def _objects(parent: dict[str, object], name: str) -> Iterator[dict[str, object]]:
    value = parent.get(name)
    if value is None:
        return
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list")  # noqa: TRY004 - one kind of error for all of it
    for each in cast("list[object]", value):
        if not isinstance(each, dict):
            raise ValueError(f"{name} holds what is no object")  # noqa: TRY004 - as above
        yield cast("dict[str, object]", each)


def _hex(value: object) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        raise ValueError("an id is not a string of hex digits")  # noqa: TRY004 - as above
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise ValueError("an id is not a string of hex digits") from None


# --- spans -------------------------------------------------------------------------------------------


def _decode(request: ExportTraceServiceRequest) -> Decoded:
    spans: list[Received] = []
    rejected, reason = 0, ""
    for resource in request.resource_spans:
        service, instance = service_of(attributes_of(resource.resource.attributes))
        for scope in resource.scope_spans:
            shared = _resource_json(resource, scope)
            for span in scope.spans:
                why = _why_not(span)
                if why:
                    rejected += 1
                    reason = reason or why
                    continue
                spans.append(_received(span, service, instance, shared))
    return Decoded(tuple(spans), rejected, reason)


def _why_not(span: OtlpSpan) -> str:
    """Say why a span cannot be kept; empty if it can."""
    if len(span.trace_id) != _TRACE_ID_BYTES or not any(span.trace_id):
        return "a span's trace id is not 16 bytes other than zero"
    if len(span.span_id) != _SPAN_ID_BYTES or not any(span.span_id):
        return "a span's id is not 8 bytes other than zero"
    if len(span.parent_span_id) not in (0, _SPAN_ID_BYTES):
        return "a parent's id is not 8 bytes"
    if not 0 < span.start_time_unix_nano <= MAX_NANOS:
        return "a span has no time when it began, or one after 2262"
    if span.end_time_unix_nano > MAX_NANOS:
        return "a span ends after 2262"
    return ""


def _received(span: OtlpSpan, service: str, instance: str, resource: str) -> Received:
    attributes = attributes_of(span.attributes)
    facts = facts_of(attributes)
    remote = bool(span.flags & _IS_REMOTE) if span.flags & _HAS_IS_REMOTE else None
    kind = KINDS[span.kind] if 0 <= span.kind < len(KINDS) else KINDS[0]
    if facts.starts and facts.started_kind in KINDS:
        kind = facts.started_kind  # of what the marker stands for
    light = Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        # Some exporters write a root's parent as eight zeros.
        parent_id=span.parent_span_id.hex() if any(span.parent_span_id) else "",
        name=span.name[:_MAX_NAME_CHARS],
        kind=kind,
        service=service,
        instance=instance,
        start_nanos=span.start_time_unix_nano,
        end_nanos=span.end_time_unix_nano,
        status=STATUSES[span.status.code] if 0 <= span.status.code < len(STATUSES) else STATUSES[0],
        failure=facts.failure,
        parent_is_remote=remote,
        session=facts.session,
        method=facts.method,
        tool=facts.tool,
        starts=facts.starts,
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
    )
    return Received(light, _body_json(span), resource)


def _body_json(span: OtlpSpan) -> str:
    body: dict[str, object] = {}
    if span.attributes:
        body["attributes"] = to_json(span.attributes)
    if span.events:
        body["events"] = [
            {
                "timeUnixNano": str(event.time_unix_nano),
                "name": event.name,
                "attributes": to_json(event.attributes),
            }
            for event in span.events
        ]
    if span.links:
        body["links"] = [
            {
                "traceId": link.trace_id.hex(),
                "spanId": link.span_id.hex(),
                "attributes": to_json(link.attributes),
            }
            for link in span.links
        ]
    if span.status.code or span.status.message:
        body["status"] = {"code": span.status.code, "message": span.status.message}
    body |= {
        name: value
        for name, value in (
            ("traceState", span.trace_state),
            ("flags", span.flags),
            ("droppedAttributesCount", span.dropped_attributes_count),
            ("droppedEventsCount", span.dropped_events_count),
            ("droppedLinksCount", span.dropped_links_count),
        )
        if value
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _resource_json(resource: ResourceSpans, scope: ScopeSpans) -> str:
    return json.dumps(
        {
            "resource": {"attributes": to_json(resource.resource.attributes)},
            "scope": {
                "name": scope.scope.name,
                "version": scope.scope.version,
                "attributes": to_json(scope.scope.attributes),
            },
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
