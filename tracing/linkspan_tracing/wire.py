"""Protobuf by hand: sizes, fields, and the attributes of OTLP.

Pure. Above lies ``encoding``. Numbers are fields of
https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/common/v1/common.proto;
how they are written is https://protobuf.dev/programming-guides/encoding/.
"""

import logging
import struct
from collections.abc import Callable
from typing import Any, Final

from opentelemetry.util.types import AnyValue

from linkspan_tracing.limits import Attributes, UnencodableError, are_texts, text_of
from linkspan_tracing.rarely import RareWarning

_LOGGER: Final = logging.getLogger(__name__)
_DROPPED: Final = RareWarning(_LOGGER)

_MOST_KEYS: Final = 2048
_MOST_VALUES: Final = 4096
_LONGEST_BYTES: Final = 256
"""How long what is worth remembering may be: methods, addresses, codes, names of headers; ids while
they last."""


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >> 7:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SIZES: Final = tuple(_varint(number) for number in range(1 << 14))


def size(number: int) -> bytes:
    """Write a whole number from 0 on as a varint."""
    return _SIZES[number] if number < len(_SIZES) else _varint(number)


def field(tag: bytes, content: Any) -> bytes:
    """Write a field of bytes or text; what UTF-8 cannot write of a text becomes a question mark."""
    if isinstance(content, bytes):
        data = content
    else:
        text = content if isinstance(content, str) else text_of(content)
        data = text.encode("utf-8", "replace")
    return b"".join((tag, size(len(data)), data))


class AttributeEncoder:
    """Encodes attributes; for one thread. Remembers keys, and values that are short, within bounds.

    Args:
        tag: the tag of the field whose elements they are.
    """

    def __init__(self, tag: bytes) -> None:
        self._tag = tag
        self._keys: dict[str, bytes] = {}
        # By type, for 1 is True, and their encodings differ.
        self._known: dict[type, dict[tuple[str, Any], bytes]] = {
            str: {},
            int: {},
            bool: {},
            tuple: {},
        }

    def add(self, attributes: Attributes, parts: list[bytes]) -> int:
        """Add each attribute as a ``KeyValue``.

        Args:
            attributes: what ``limits`` has kept.
            parts: what is added to.

        Returns:
            How many could not be encoded and were left out.
        """
        dropped = 0
        all_known = self._known
        lists = all_known[tuple]
        for key, value in attributes.items():
            known = all_known.get(type(value))
            if known is lists and not are_texts(value):
                known = None  # (1,) is (True,), too
            if known is not None:
                encoded = known.get((key, value))
                if encoded is not None:
                    parts.append(encoded)
                    continue
            try:
                content = any_value(value)
                body = b"".join((self._key(key), b"\x12", size(len(content)), content))
            except (UnencodableError, ValueError, OverflowError, struct.error) as error:
                dropped += 1
                _DROPPED.warn("attribute %r cannot be sent: %s", key, error)
                continue
            encoded = b"".join((self._tag, size(len(body)), body))
            parts.append(encoded)
            if known is not None and len(encoded) <= _LONGEST_BYTES:
                if len(known) >= _MOST_VALUES:
                    known.clear()
                known[key, value] = encoded
        return dropped

    def _key(self, key: str) -> bytes:
        """Return ``KeyValue.key``, with its tag and size."""
        try:
            return self._keys[key]
        except KeyError:
            pass
        text = text_of(key)
        if not text:
            raise UnencodableError("a key without a text")
        data = text.encode()
        encoded = b"".join((b"\x0a", size(len(data)), data))
        if len(self._keys) >= _MOST_KEYS:
            self._keys.clear()
        if len(encoded) <= _LONGEST_BYTES:
            self._keys[key] = encoded
        return encoded


def any_value(value: AnyValue) -> bytes:
    """Encode an ``AnyValue``, without the tag and size before it.

    Raises:
        ValueError: it is no 64-bit number, or no text that UTF-8 can write.
    """
    return _ENCODERS[type(value)](value)


def _text(value: str) -> bytes:
    data = value.encode()
    return b"".join((b"\x0a", size(len(data)), data))


def _whole(value: int) -> bytes:
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("a number of more than 64 bits")
    return b"\x18" + size(value & 0xFFFFFFFFFFFFFFFF)


def _array(values: tuple[AnyValue, ...]) -> bytes:
    return field(b"\x2a", b"".join(field(b"\x0a", any_value(value)) for value in values))


def _fields(values: dict[str, AnyValue]) -> bytes:
    return field(
        b"\x32",
        b"".join(
            field(b"\x0a", field(b"\x0a", key.encode()) + field(b"\x12", any_value(value)))
            for key, value in values.items()
        ),
    )


_FLOAT: Final = struct.Struct("<Bd").pack
_ENCODERS: Final[dict[type, Callable[[Any], bytes]]] = {
    str: _text,
    bool: lambda value: b"\x10\x01" if value else b"\x10\x00",
    int: _whole,
    float: lambda value: _FLOAT(0x21, value),
    bytes: lambda value: field(b"\x3a", value),
    type(None): lambda value: b"",  # noqa: ARG005 - an AnyValue without a value
    tuple: _array,
    dict: _fields,
}
