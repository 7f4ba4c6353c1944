"""Whether gRPC will send metadata, or refuse them.

Pure. ``channel`` and ``client`` lie above, which have to know: a call of grpc.aio whose metadata
are refused raises when it is awaited, and gRPC never says that it is over. The grammar is
``Custom-Metadata`` of https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

_KEY: Final = re.compile(rb"[0-9a-z_.\-]+")
_TEXT: Final = re.compile(rb"[\x20-\x7e]*")


def is_legal(metadata: Iterable[Any] | None) -> bool:
    """Say whether gRPC can send all of ``metadata``, which may be anything."""
    try:
        return all(_is_legal_entry(*entry) for entry in metadata or ())
    except (TypeError, ValueError):
        return False


def _is_legal_entry(key: str | bytes, value: str | bytes) -> bool:
    key_bytes = key.encode() if isinstance(key, str) else bytes(memoryview(key))
    if _KEY.fullmatch(key_bytes) is None:
        return False
    if key_bytes.endswith(b"-bin"):
        return isinstance(value, bytes)
    value_bytes = value.encode() if isinstance(value, str) else bytes(memoryview(value))
    return _TEXT.fullmatch(value_bytes) is not None
