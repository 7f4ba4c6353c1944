"""Whatever JSON comes, the answer is spans or `BadRequestError`."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.traces.backend import as_json, export, span

from linkspan_traces.errors import BadRequestError
from linkspan_traces.otlp.decode import decode_json, decode_protobuf, unpack

_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_names = st.sampled_from(
    ["resourceSpans", "scopeSpans", "spans", "traceId", "spanId", "links", "attributes", "events",
     "key", "value", "stringValue", "intValue", "arrayValue", "values", "kind", "status", "flags",
     "startTimeUnixNano", "resource", "scope", "resource_spans"]
)  # fmt: skip
_anything = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=25,
)


def _is_read_or_refused(body: bytes) -> None:
    try:
        decode_json(body)
    except BadRequestError:
        return


@settings(max_examples=150, deadline=None)
@given(_anything)
def test_any_json_is_read_or_refused(value: Any) -> None:

    _is_read_or_refused(json.dumps(value).encode("utf-8", "surrogatepass"))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_an_export_with_one_value_replaced_is_read_or_refused(data: st.DataObject) -> None:

    request = as_json(export(span(b"t" * 16, links=(span(b"u" * 16),), a=1, b="x")))
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys: list[Any] = list(node) if hasattr(node, "keys") else list(range(len(node)))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(request)
    node, key = data.draw(st.sampled_from(range(len(places))).map(places.__getitem__))
    node[key] = data.draw(_anything)
    _is_read_or_refused(json.dumps(request).encode("utf-8", "surrogatepass"))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["", "gzip"]))
def test_any_bytes_are_read_or_refused(body: bytes, encoding: str) -> None:
    try:
        decode_protobuf(unpack(body, encoding, 1000))
    except BadRequestError:
        return
