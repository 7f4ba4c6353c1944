"""Carriers: a trace context into metadata or headers, and out of them.

Below lie the pure grammars (``traceparent``, ``tracestate``, ``baggage``); above lie the client and
server interceptors, and any edge that has fields instead of metadata, such as an HTTP server.

Invariants:
- inject removes before it adds, so that exactly one ``traceparent`` goes out, whatever stood there;
- all other entries of the caller keep their order and their duplicates;
- a ``traceparent`` always goes out whole; where room is short, members of ``tracestate`` go first,
  from the right, then members of ``baggage``;
- extract gives a context with no local ancestry and never raises for what a peer sent: a malformed
  ``traceparent`` is no parent, a malformed ``tracestate`` costs itself and not the trace.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from opentelemetry import baggage as otel_baggage
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from linkspan_propagation.baggage import (
    BAGGAGE,
    format_baggage,
    join_baggage,
    parse_baggage,
)
from linkspan_propagation.propagators import propagators_in_use
from linkspan_propagation.traceparent import (
    KNOWN_FLAGS,
    TRACEPARENT,
    format_traceparent,
    read_traceparent,
)
from linkspan_propagation.tracestate import TRACESTATE, parse_tracestate, shorten_tracestate

MetadataEntry: TypeAlias = tuple[str, str | bytes]
Metadata: TypeAlias = Iterable[MetadataEntry]
"""What gRPC takes and gives as metadata: ``grpc.aio.Metadata``, or pairs of key and value."""

METADATA_BUDGET_BYTES: Final = 4096
"""Size of all metadata of a call up to which trace state and baggage may fill it, in bytes.

A gRPC peer refuses some calls from 8 KiB of metadata on and every call from 16 KiB, see
``GRPC_ARG_MAX_METADATA_SIZE`` and ``GRPC_ARG_ABSOLUTE_MAX_METADATA_SIZE`` in
https://grpc.github.io/grpc/core/group__grpc__arg__keys.html, and proxies add entries of their own.
So this is half of the lower one. (W3C Baggage asks for room for 8 KiB, which HTTP headers have.)
"""

_ENTRY_OVERHEAD_BYTES: Final = 32
"""What HTTP/2 counts for an entry beside its key and value (RFC 9113, section 6.5.2)."""

_NOTHING: Final = Context()
_NO_TRACE_STATE: Final = TraceState()
_FLAGS: Final = tuple(TraceFlags(flags) for flags in range(KNOWN_FLAGS + 1))

# What OpenTelemetry's TraceState can hold: the keys of Trace Context Level 1. It logs a warning for
# each key that only Level 2 allows, which would let a caller fill our log.
_HOLDABLE_KEY: Final = re.compile(
    r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
)


def inject(metadata: Metadata | None, context: Context | None = None) -> tuple[MetadataEntry, ...]:
    """Return ``metadata`` with the trace context and baggage of ``context`` in it.

    Args:
        metadata: the caller's own entries; None is the same as empty. Not changed.
        context: what to carry; None means the current context.

    Returns:
        The caller's entries in their order, then ``traceparent``, ``tracestate``, ``baggage`` as
        far as there is something to say. Entries of these names that were there already are
        replaced; the caller's ``baggage`` members are kept beside those of ``context``, which win.
        Without a valid span in ``context`` the caller's own ``traceparent`` and ``tracestate``
        stay.

    Entries that gRPC will refuse pass through untouched, so that gRPC says so itself.
    """
    entries = () if metadata is None else tuple(metadata)
    carried = propagators_in_use()
    if context is None:
        context = otel_context.get_current()
    span_context = trace.get_current_span(context).get_span_context()
    has_parent = carried.trace_context and span_context.is_valid
    members = otel_baggage.get_all(context) if carried.baggage else None
    own_baggage = format_baggage(members) if members else []
    if not own_baggage:
        if not has_parent:
            return entries
        alone = not any(key in {TRACEPARENT, TRACESTATE} for key, _ in entries)
        if alone and not span_context.trace_state:  # nothing to find a place beside, or to replace
            return (*entries, (TRACEPARENT, _traceparent(span_context)))

    kept: list[MetadataEntry] = []
    others_baggage: list[str] = []
    room_bytes = METADATA_BUDGET_BYTES
    for entry in entries:
        key, value = entry[0], entry[1]
        if has_parent and key in {TRACEPARENT, TRACESTATE}:
            continue
        if own_baggage and key == BAGGAGE and isinstance(value, str):
            others_baggage += value.split(",")
            continue
        kept.append(entry)
        room_bytes -= _size_bytes(key, value)
    kept += _fields(
        span_context if has_parent else None,
        own_baggage,
        others_baggage,
        room_bytes,
    ).items()
    return tuple(kept)


def inject_into_fields(context: Context | None = None) -> dict[str, str]:
    """Return the fields that carry ``context`` (None: the current one), by lower-case name.

    For HTTP headers and the like: set them, replacing fields of the same names. Empty where there
    is nothing to carry. The values are ASCII and together far smaller than any server's header
    limit.
    """
    carried = propagators_in_use()
    span_context = trace.get_current_span(context).get_span_context()
    return _fields(
        span_context if carried.trace_context and span_context.is_valid else None,
        format_baggage(otel_baggage.get_all(context)) if carried.baggage else [],
        [],
        METADATA_BUDGET_BYTES,
    )


def extract(metadata: Metadata | None) -> Context:
    """Return the context that received metadata carries.

    Of several ``traceparent`` entries the last counts: gRPC core itself delivers only the last, so
    that on gRPC no other reading is possible (for HTTP see ``extract_from_fields``). Several
    ``tracestate`` or ``baggage`` entries are one list.

    Returns:
        A context that knows the remote span and baggage and nothing of the local process. An empty
        one where there is no valid ``traceparent``, hence no parent, and no baggage.
    """
    traceparent: str | None = None
    tracestates: list[str] = []
    baggages: list[str] = []
    for key, value in metadata or ():
        if not isinstance(value, str):
            continue
        if key == TRACEPARENT:
            traceparent = value
        elif key == TRACESTATE:
            tracestates.append(value)
        elif key == BAGGAGE:
            baggages.append(value)
    return _context(traceparent, tracestates, baggages)


def extract_from_fields(
    traceparents: Sequence[str], tracestates: Sequence[str], baggages: Sequence[str]
) -> Context:
    """Return the context that HTTP fields carry, given all values of each field in order.

    More than one ``traceparent`` is no parent: a sender sends exactly one, and which of them is the
    caller's cannot be known. The specification has no sentence on it; its test suite asks for it as
    ``test_traceparent_duplicated`` (https://github.com/w3c/trace-context/tree/main/test).

    Returns:
        As ``extract``.
    """
    only = traceparents[0] if len(traceparents) == 1 else None
    return _context(only, tracestates, baggages)


def _context(
    traceparent: str | None, tracestates: Sequence[str], baggages: Sequence[str]
) -> Context:
    carried = propagators_in_use()
    context = _NOTHING
    if (
        traceparent is not None
        and carried.trace_context
        and (parent := read_traceparent(traceparent)) is not None
    ):
        trace_id, span_id, flags = parent
        span_context = SpanContext(
            trace_id,
            span_id,
            True,  # is_remote
            _FLAGS[flags],
            _trace_state(tracestates) if tracestates else _NO_TRACE_STATE,
        )
        context = trace.set_span_in_context(NonRecordingSpan(span_context), context)
    if baggages and carried.baggage:
        for key, value in parse_baggage(baggages).items():
            context = otel_baggage.set_baggage(key, value, context)
    return context


def _trace_state(tracestates: Sequence[str]) -> TraceState:
    return TraceState(
        [
            member
            for member in parse_tracestate(tracestates)
            if _HOLDABLE_KEY.fullmatch(member[0]) is not None
        ]
    )


def _fields(
    span_context: SpanContext | None,
    own_baggage: Sequence[str],
    others_baggage: Sequence[str],
    room_bytes: int,
) -> dict[str, str]:
    """Return what to send within ``room_bytes``, which ``traceparent`` may exceed."""
    fields: dict[str, str] = {}
    tracestate = ""
    if span_context is not None:
        fields[TRACEPARENT] = _traceparent(span_context)
        room_bytes -= _size_bytes(TRACEPARENT, fields[TRACEPARENT])
        if span_context.trace_state:
            tracestate = span_context.trace_state.to_header()
    baggage_text = ""
    if own_baggage or others_baggage:
        baggage_text = join_baggage(
            own_baggage, others_baggage, room_bytes - _size_bytes(BAGGAGE, "")
        )
    if tracestate and span_context is not None:
        if baggage_text:
            room_bytes -= _size_bytes(BAGGAGE, baggage_text)
        tracestate = shorten_tracestate(
            tuple(span_context.trace_state.items()), room_bytes - _size_bytes(TRACESTATE, "")
        )
        if tracestate:
            fields[TRACESTATE] = tracestate
    if baggage_text:
        fields[BAGGAGE] = baggage_text
    return fields


def _traceparent(span_context: SpanContext) -> str:
    return format_traceparent(span_context.trace_id, span_context.span_id, span_context.trace_flags)


def _size_bytes(key: object, value: object) -> int:
    """Size of an entry as HTTP/2 counts it; gRPC will refuse what is no text."""
    key_bytes = len(key) if isinstance(key, str | bytes) else 0
    value_bytes = len(value) if isinstance(value, str | bytes) else 0
    return key_bytes + value_bytes + _ENTRY_OVERHEAD_BYTES
