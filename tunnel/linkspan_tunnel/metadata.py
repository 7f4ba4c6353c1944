"""Metadata of calls: what they may hold, how large they are, and how they travel.

Pure. Above lie `client_call` and `server_call`. The rules are gRPC's, so that a call can go over a
tunnel or without one (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, Requests).
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from linkspan.tunnel.v1 import tunnel_pb2
from linkspan_tunnel.errors import CallFailureError, Fault

Value: TypeAlias = str | bytes
Pairs: TypeAlias = Iterable[tuple[str, Value]]

ENTRY_BYTES: Final = 32
"""What an entry counts for beside its key and value (RFC 9113, 6.5.2)."""

_KEY: Final = re.compile(r"[0-9a-z_.-]+").fullmatch


class Metadatum(NamedTuple):
    """One entry, as `invocation_metadata()` gives it."""

    key: str
    value: Value


Entries: TypeAlias = tuple[Metadatum, ...]
"""Metadata that have been checked."""


@lru_cache(maxsize=1024)
def _kind_of(key: str) -> str:
    """Return what the values of a key are, `text` or `binary`; empty if the key is not valid."""
    if _KEY(key) is None:
        return ""
    return "binary" if key.endswith("-bin") else "text"


def checked(metadata: Pairs | None) -> Entries:
    """Return what a caller wants to send, checked.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A key or a value has characters that cannot travel.
    """
    if not metadata:
        return ()
    return tuple([_checked_entry(key, value) for key, value in metadata])


def _checked_entry(key: str, value: Value) -> Metadatum:
    kind = _kind_of(key)
    if not kind:
        raise ValueError(f"metadata key {key!r}: only 0-9, a-z, '_', '.' and '-' can travel")
    if kind == "binary":
        if not isinstance(value, bytes):
            raise TypeError(f"metadata of key {key!r}: bytes are needed, not {type(value)}")
        return Metadatum(key, value)
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"metadata of key {key!r}: only printable ASCII can travel")
    return Metadatum(key, text)


def size_bytes(entries: Entries) -> int:
    """Return how large metadata are, as `Settings.max_metadata_bytes` counts."""
    if not entries:
        return 0
    return sum([len(key) + len(value) + ENTRY_BYTES for key, value in entries])


def put(entries: Entries, add: Callable[[], tunnel_pb2.Metadatum]) -> None:
    """Write metadata into a frame, through the `add` of its field."""
    for key, value in entries:
        entry = add()
        entry.key = key
        if isinstance(value, str):
            entry.text = value
        else:
            entry.binary = value


def read(field: Iterable[tunnel_pb2.Metadatum], *, limit_bytes: int) -> Entries:
    """Read metadata that came in a frame.

    Raises:
        CallFailureError: They break a rule.
    """
    entries: list[Metadatum] = []
    size = 0
    for entry in field:
        key = entry.key
        kind = _kind_of(key)
        value: Value
        if kind == "text":
            value = entry.text
            if not (value.isascii() and value.isprintable()):
                raise CallFailureError(Fault.BAD_METADATA)
        elif kind:
            value = entry.binary
        else:
            raise CallFailureError(Fault.BAD_METADATA)
        size += len(key) + len(value) + ENTRY_BYTES
        entries.append(Metadatum(key, value))
    if size > limit_bytes:
        raise CallFailureError(Fault.LARGE_METADATA)
    return tuple(entries)
