"""Sessions and streams as Redis holds them: fields of a hash, and what the scripts answer.

A record is a hash with a field for each attribute; beside them are fields that only the scripts
use (`lua/session_prelude.lua`). Everything here is pure.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from linkspan_session.errors import RecordTooNewError
from linkspan_session.store.base import (
    Changes,
    Closed,
    Handshake,
    Preferences,
    Principal,
    SessionId,
    SessionRecord,
    StreamRecord,
)
from linkspan_session.store.nodes import NodeId
from linkspan_session.store.redis_connections import Word
from linkspan_session.store.redis_keys import entry_of

RECORD_VERSION: Final = 1
"""The layout of the records that are written here; each says its own, in the field `layout`."""


def answered(answer: list[Any]) -> tuple[str, list[Any]]:
    """Return the word that a script's answer begins with, and the rest.

    Raises:
        RecordTooNewError: A newer version of Linkspan wrote the record.
    """
    word, *rest = answer
    if word == b"newer":
        raise RecordTooNewError
    return word.decode(), rest


def fields_of(record: SessionRecord) -> list[Word]:
    """Return the fields and values of a record that is to be added."""
    return [
        "entry",
        entry_of(record).encode(),
        "id",
        record.session_id,
        "issuer",
        record.principal.issuer,
        "subject",
        record.principal.subject,
        "resource",
        record.principal.resource,
        *_handshake_fields(record.handshake),
        *_preferences_fields(record.preferences),
        "created",
        record.created_millis,
        "active",
        record.last_active_millis,
        "expires",
        record.expires_millis,
        "owner",
        record.owner,
        "epoch",
        record.epoch,
        "closed",
        record.closed or "",
        "version",
        record.version,
        "log_bytes",
        0,
        "storage_bytes",
        0,
    ]


def _changed_fields(changes: Changes) -> list[Word]:
    """Return the fields and values of a record that a commit replaces."""
    fields: list[Word] = []
    if changes.handshake is not None:
        fields += _handshake_fields(changes.handshake)
    if changes.preferences is not None:
        fields += _preferences_fields(changes.preferences)
    if changes.last_active_millis is not None:
        fields += ["active", changes.last_active_millis]
    if changes.expires_millis is not None:
        fields += ["expires", changes.expires_millis]
    return fields


def is_touch(changes: Changes) -> bool:
    """Tell whether changes say at most how long the session lives."""
    return replace(changes, last_active_millis=None, expires_millis=None) == Changes()


def lists_of(changes: Changes) -> list[Word]:
    """Return the lists that the commit script takes, each after its length."""
    deleted = [key for key, value in changes.storage.items() if value is None]
    fields = _changed_fields(changes)
    words: list[Word] = [len(fields) // 2, *fields, len(changes.streams)]
    words += _flat(_stream_words(stream) for stream in changes.streams)
    words.append(len(changes.events))
    for event in changes.events:
        words += (event.stream_id, event.sequence, event.message, int(event.last))
    words.append(len(changes.storage) - len(deleted))
    for key, value in changes.storage.items():
        if value is not None:
            words += (key, value)
    return [*words, len(deleted), *deleted]


def record_of(pairs: list[bytes]) -> SessionRecord:
    """Return the record that a hash's fields and values are."""
    values = dict(zip(pairs[::2], pairs[1::2], strict=True))

    def text(field: bytes) -> str:
        return values[field].decode()

    handshake = None
    if values[b"initialized"]:
        handshake = Handshake(text(b"protocol"), text(b"params"), values[b"initialized"] == b"1")
    return SessionRecord(
        session_id=SessionId(text(b"id")),
        principal=Principal(text(b"issuer"), text(b"subject"), text(b"resource")),
        handshake=handshake,
        created_millis=int(values[b"created"]),
        last_active_millis=int(values[b"active"]),
        expires_millis=int(values[b"expires"]),
        owner=NodeId(text(b"owner")),
        epoch=int(values[b"epoch"]),
        preferences=Preferences(
            text(b"log_level"), tuple(json.loads(values[b"subscriptions"])), text(b"scratch")
        ),
        closed=Closed(text(b"closed")) if values[b"closed"] else None,
        version=int(values[b"version"]),
    )


def _stream_words(stream: StreamRecord) -> tuple[Word, Word, Word]:
    """Return a stream as the commit script takes it: its id, its state, and what is fixed."""
    state = (
        f"{stream.first_sequence} {stream.last_sequence} {int(stream.finished)} 0 "
        f"{stream.created_millis} {stream.request_key}"
    )
    return stream.stream_id, state, json.dumps([stream.request_id, stream.traceparent])


def stream_of(session_id: SessionId, stream_id: bytes, fixed: bytes, state: bytes) -> StreamRecord:
    """Return the stream that a script answered with."""
    request_id, traceparent = json.loads(fixed)
    first, last, finished, _bytes, created, request_key = state.decode().split(" ", 5)
    return StreamRecord(
        session_id=session_id,
        stream_id=stream_id.decode(),
        request_id=request_id,
        traceparent=traceparent,
        created_millis=int(created),
        request_key=request_key,
        finished=finished == "1",
        last_sequence=int(last),
        first_sequence=int(first),
    )


def _handshake_fields(handshake: Handshake | None) -> list[Word]:
    if handshake is None:
        return ["protocol", "", "params", "", "initialized", ""]
    return [
        "protocol",
        handshake.protocol_version,
        "params",
        handshake.params_json,
        "initialized",
        int(handshake.initialized),
    ]


def _preferences_fields(preferences: Preferences) -> list[Word]:
    return [
        "log_level",
        preferences.log_level,
        "subscriptions",
        json.dumps(preferences.subscriptions),
        "scratch",
        preferences.scratch_json,
    ]


def _flat(groups: Iterable[tuple[Word, ...]]) -> list[Word]:
    return [word for group in groups for word in group]
