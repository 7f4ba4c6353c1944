"""Attribute values: from protobuf to OTLP's JSON form, and from that to words for people. Pure.

Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding; 64-bit integers are
strings there, bytes are base64.
"""

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias, cast

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

Plain: TypeAlias = str | bool | int | float | bytes | None
"""A value that is neither a list nor a map; those are not looked into and read as None."""

_NOT_FINITE: Final = {math.inf: "Infinity", -math.inf: "-Infinity"}


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, Plain]:
    """Return the attributes that are plain values, by name."""
    found: dict[str, Plain] = {}
    for pair in pairs:
        which = pair.value.WhichOneof("value")
        if which in ("string_value", "bool_value", "int_value", "double_value", "bytes_value"):
            found[pair.key] = cast("Plain", getattr(pair.value, which))
    return found


def to_json(pairs: Iterable[KeyValue]) -> list[object]:
    """Write attributes in OTLP's JSON form."""
    return [{"key": pair.key, "value": _value_to_json(pair.value)} for pair in pairs]


def _value_to_json(value: AnyValue) -> dict[str, object]:
    match value.WhichOneof("value"):
        case "string_value":
            return {"stringValue": value.string_value}
        case "int_value":
            return {"intValue": str(value.int_value)}
        case "bool_value":
            return {"boolValue": value.bool_value}
        case "double_value":
            number = value.double_value
            if math.isfinite(number):
                return {"doubleValue": number}
            return {"doubleValue": _NOT_FINITE.get(number, "NaN")}
        case "bytes_value":
            return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
        case "array_value":
            return {"arrayValue": {"values": [_value_to_json(v) for v in value.array_value.values]}}
        case "kvlist_value":
            return {"kvlistValue": {"values": to_json(value.kvlist_value.values)}}
        case _:
            return {}


def words(attributes: object) -> list[dict[str, str]]:
    """Write attributes for people, in their order.

    Args:
        attributes: A list in OTLP's JSON form; anything else is none.

    Returns:
        For each its `key`, its `type` (string, int, double, bool, bytes, array, map, empty) and its
        value as `text`.
    """
    if not isinstance(attributes, list):
        return []
    shown: list[dict[str, str]] = []
    for pair in cast("list[Mapping[str, object]]", attributes):
        value = cast("Mapping[str, object]", pair.get("value") or {})
        kind, plain = _plain(value)
        text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
        shown.append({"key": str(pair.get("key", "")), "type": kind, "text": text})
    return shown


def _plain(value: Mapping[str, object]) -> tuple[str, object]:
    for name, kind in _TYPES.items():
        if name in value:
            held = value[name]
            if kind == "array":
                return kind, [_element(each) for each in _values(held)]
            if kind == "map":
                return kind, {
                    str(pair.get("key", "")): _element(
                        cast("Mapping[str, object]", pair.get("value") or {})
                    )
                    for pair in _values(held)
                }
            return kind, held
    return "empty", ""


def _element(value: Mapping[str, object]) -> object:
    kind, plain = _plain(value)
    return int(plain) if kind == "int" and isinstance(plain, str) else plain


def _values(held: object) -> Sequence[Mapping[str, object]]:
    values = cast("Mapping[str, object]", held).get("values", [])
    return cast("Sequence[Mapping[str, object]]", values)


_TYPES: Final = {
    "stringValue": "string",
    "intValue": "int",
    "doubleValue": "double",
    "boolValue": "bool",
    "bytesValue": "bytes",
    "arrayValue": "array",
    "kvlistValue": "map",
}
