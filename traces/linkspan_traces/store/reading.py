"""Traces out of the file: units of work for `Database.read`."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from linkspan_traces.errors import AmbiguousTraceError, UnknownTraceError
from linkspan_traces.model import KINDS, JsonObject, Span
from linkspan_traces.otlp.values import words
from linkspan_traces.store.filters import FIELDS, Search, cursor
from linkspan_traces.store.rows import SPAN_COLUMNS, TRACE_COLUMNS, ListedTrace, span_of

_ID_CHARS: Final = 32
_SHOWN: Final = 5
"""How many ids are named where one was not found, or not told apart."""

_MIN_SIMILAR: Final = 4
"""How many digits two ids have to share before one is named for the other."""

_MAX_VALUES: Final = 200
_MAX_IDS: Final = 500
_MAX_INCOMING: Final = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Traces, and the cursor for more; empty if there are none."""

    traces: Sequence[ListedTrace]
    next_cursor: str


def list_traces(
    connection: sqlite3.Connection, search: Search, only: Sequence[str] | None = None
) -> Page:
    """Return a page of the traces that are meant.

    Args:
        connection: In a transaction.
        search: What is meant, and how many.
        only: If given, no others than these are.
    """
    condition, values = search.where()
    if only is not None:
        among = list(only[:_MAX_IDS])
        condition += f" AND trace_id IN ({', '.join('?' * len(among))})"
        values += among
    way = "ASC" if search.oldest_first else "DESC"
    rows = connection.execute(
        f"SELECT {TRACE_COLUMNS} FROM traces WHERE {condition} "  # noqa: S608 - of constants
        f"ORDER BY start_nanos {way}, trace_id {way} LIMIT ?",
        (*values, search.limit + 1),
    ).fetchall()
    traces = [ListedTrace.of(row) for row in rows[: search.limit]]
    more = len(rows) > search.limit
    return Page(traces, cursor(traces[-1].start_nanos, traces[-1].trace_id) if more else "")


def find_trace(connection: sqlite3.Connection, begin: str) -> ListedTrace:
    """Return the trace whose id is, or begins with, `begin`, in lower-case hex.

    Raises:
        UnknownTraceError: There is none.
        AmbiguousTraceError: There are several.
    """
    found = _begin_with(connection, begin)
    if not found:
        similar: list[str] = []
        for length in range(min(len(begin), _ID_CHARS) - 1, _MIN_SIMILAR - 1, -1):
            similar = _begin_with(connection, begin[:length])
            if similar:
                break
        raise UnknownTraceError(similar[:_SHOWN])
    if len(found) > 1:
        raise AmbiguousTraceError(found[:_SHOWN])
    row = connection.execute(
        f"SELECT {TRACE_COLUMNS} FROM traces WHERE trace_id = ?",  # noqa: S608 - a constant
        found,
    )
    return ListedTrace.of(row.fetchone())


def spans_of_trace(connection: sqlite3.Connection, trace_id: str) -> list[Span]:
    """Return the spans of a trace, with their links, in no order."""
    links: dict[str, list[tuple[str, str]]] = {}
    for span_id, target_trace, target_span in connection.execute(
        "SELECT span_id, target_trace_id, target_span_id FROM links WHERE trace_id = ? "
        "ORDER BY span_id, place",
        (trace_id,),
    ):
        links.setdefault(span_id, []).append((target_trace, target_span))
    rows = connection.execute(
        f"SELECT {SPAN_COLUMNS} FROM spans WHERE trace_id = ?",  # noqa: S608 - a constant
        (trace_id,),
    )
    return [span_of(row, tuple(links.get(row[1], ()))) for row in rows]


def incoming_links(connection: sqlite3.Connection, trace_id: str) -> list[JsonObject]:
    """Return which spans of other traces link to this one, the earliest first."""
    rows = connection.execute(
        "SELECT links.trace_id, links.span_id, links.target_span_id, traces.name FROM links "
        "JOIN traces USING (trace_id) WHERE target_trace_id = ? AND links.trace_id != ? "
        "ORDER BY traces.start_nanos LIMIT ?",
        (trace_id, trace_id, _MAX_INCOMING),
    )
    return [
        {"trace_id": trace, "span_id": span, "target_span_id": target, "name": name}
        for trace, span, target, name in rows
    ]


def span_details(connection: sqlite3.Connection, trace_id: str, span_id: str) -> JsonObject | None:
    """Return all that a span says, as words for people; None if there is no such span.

    For a span of which only the start marker has come, it is what that says.
    """
    row = connection.execute(
        f"SELECT {SPAN_COLUMNS}, spans.body, resources.body FROM spans JOIN resources "  # noqa: S608
        "USING (resource_id) WHERE trace_id = ? AND (span_id = ? OR starts = ?) "
        "ORDER BY span_id = ? DESC LIMIT 1",
        (trace_id, span_id, span_id, span_id),
    ).fetchone()
    if row is None:
        return None
    span = span_of(row)
    body: dict[str, Any] = json.loads(row[-2])
    shared: dict[str, Any] = json.loads(row[-1])
    status: dict[str, Any] = body.get("status", {})
    return {
        "trace_id": trace_id,
        "span_id": span_id,
        "parent_id": span.parent_id,
        "name": span.name,
        "kind": span.kind,
        "service": span.service,
        "start_nanos": str(span.start_nanos),
        "end_nanos": str(span.end_nanos),
        "status": span.status,
        "status_message": status.get("message", ""),
        "trace_state": body.get("traceState", ""),
        "attributes": words(body.get("attributes")),
        "events": [
            {
                "name": event["name"],
                "time_nanos": event["timeUnixNano"],
                "offset_nanos": int(event["timeUnixNano"]) - span.start_nanos,
                "attributes": words(event["attributes"]),
            }
            for event in cast("list[dict[str, Any]]", body.get("events", []))
        ],
        "links": [
            {
                "trace_id": link["traceId"],
                "span_id": link["spanId"],
                "attributes": words(link["attributes"]),
                "known": _is_known(connection, link["traceId"]),
            }
            for link in cast("list[dict[str, Any]]", body.get("links", []))
        ],
        "resource": words(shared["resource"]["attributes"]),
        "scope": {"name": shared["scope"]["name"], "version": shared["scope"]["version"]},
        "dropped": {
            name: body[f"dropped{name.title()}Count"]
            for name in ("attributes", "events", "links")
            if f"dropped{name.title()}Count" in body
        },
    }


def trace_as_otlp(connection: sqlite3.Connection, trace_id: str) -> JsonObject:
    """Return a trace as an `ExportTraceServiceRequest` in OTLP's JSON form."""
    resources: dict[int, dict[str, Any]] = {}
    for row in connection.execute(
        f"SELECT {SPAN_COLUMNS}, spans.body, resource_id, resources.body FROM spans "  # noqa: S608
        "JOIN resources USING (resource_id) WHERE trace_id = ? ORDER BY start_nanos, span_id",
        (trace_id,),
    ):
        span, resource_id = span_of(row), row[-2]
        if resource_id not in resources:
            shared: dict[str, Any] = json.loads(row[-1])
            resources[resource_id] = {
                "resource": shared["resource"],
                "scopeSpans": [{"scope": shared["scope"], "spans": []}],
            }
        ids = {"traceId": span.trace_id, "spanId": span.span_id}
        if span.parent_id:
            ids["parentSpanId"] = span.parent_id
        resources[resource_id]["scopeSpans"][0]["spans"].append(
            {
                **ids,
                "name": span.name,
                "kind": KINDS.index(span.kind),
                "startTimeUnixNano": str(span.start_nanos),
                "endTimeUnixNano": str(span.end_nanos),
                **json.loads(row[-3]),
            }
        )
    return {"resourceSpans": list(resources.values())}


def known_values(connection: sqlite3.Connection) -> JsonObject:
    """Return which services, methods and tools there are, for lists to choose from."""
    found: dict[str, list[str]] = {}
    for field in FIELDS:
        if field != "session":
            rows = connection.execute(
                "SELECT DISTINCT value FROM facets WHERE field = ? LIMIT ?", (field, _MAX_VALUES)
            )
            found[field] = [value for (value,) in rows]
    return found


def totals(connection: sqlite3.Connection) -> JsonObject:
    """Return how many traces and spans there are."""
    traces, spans = connection.execute(
        "SELECT count(*), coalesce(sum(spans), 0) FROM traces"
    ).fetchone()
    return {"traces": traces, "spans": spans}


def _begin_with(connection: sqlite3.Connection, begin: str) -> list[str]:
    rows = connection.execute(
        "SELECT trace_id FROM traces WHERE trace_id >= ? AND trace_id <= ? ORDER BY trace_id LIMIT ?",
        (begin, begin + "g", _SHOWN + 1),  # no hex digit sorts behind g
    )
    return [trace_id for (trace_id,) in rows]


def _is_known(connection: sqlite3.Connection, trace_id: str) -> bool:
    row = connection.execute("SELECT 1 FROM traces WHERE trace_id = ?", (trace_id,))
    return row.fetchone() is not None
