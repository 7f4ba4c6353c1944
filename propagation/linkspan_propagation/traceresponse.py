"""The ``traceresponse`` field: a server tells its caller which span handled the call.

Pure but for the servicer's context that it is handed. ``server`` and ``sync_server`` lie above.
The format is that of the W3C draft,
https://w3c.github.io/trace-context/#traceresponse-header:

    traceresponse = version "-" trace-id "-" child-id "-" trace-flags

Not every answer has it: where a handler of an asyncio server calls ``abort`` with trailing metadata
of its own, gRPC sends these at once, and nothing else.

Invariant: what a handler set as trailing metadata stays, in its order, and so does a
``traceresponse`` of its own.
"""

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from opentelemetry.trace import SpanContext

from linkspan_propagation.carriers import MetadataEntry
from linkspan_propagation.traceparent import format_traceparent

TRACERESPONSE: Final = "traceresponse"
"""Name of the field. https://w3c.github.io/trace-context/#header-name-0"""

Entry: TypeAlias = tuple[str, str]


def format_traceresponse(trace_id: int, span_id: int, flags: int) -> str:
    """Write a version-00 value of 55 characters.

    Raises:
        ValueError: an id is zero or wider than its field (128 and 64 bits).
    """
    return format_traceparent(trace_id, span_id, flags)  # the draft has the same fields


def traceresponse_of(span_context: SpanContext) -> Entry | None:
    """Return the metadata entry that names a span; None for no span."""
    if not span_context.is_valid:
        return None
    return (
        TRACERESPONSE,
        format_traceresponse(span_context.trace_id, span_context.span_id, span_context.trace_flags),
    )


def add_to_trailing_metadata(servicer_context: Any, entry: Entry) -> None:
    """Add ``entry`` to what is to be sent after the last response, unless there is one already.

    A handler may replace all trailing metadata at any time, so call this again when it has ended.
    """
    present: Iterable[MetadataEntry] = servicer_context.trailing_metadata() or ()
    entries = tuple(present)
    if all(key != TRACERESPONSE for key, _ in entries):
        servicer_context.set_trailing_metadata((*entries, entry))
