"""Spans into the file, and the oldest traces out of it: units of work for `Database.write`.

A span that comes twice, because its sender had no answer the first time, is there once. An open span
gives way to the same span ended, never the other way round.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from linkspan_traces.analysis.summary import Summary, summarise
from linkspan_traces.model import Received
from linkspan_traces.store.rows import SPAN_COLUMNS, span_of

_INSERT_SPAN: Final = f"""
    INSERT INTO spans ({SPAN_COLUMNS}, resource_id, body)
    VALUES ({", ".join("?" * (SPAN_COLUMNS.count(",") + 3))})
    ON CONFLICT (trace_id, span_id) DO UPDATE SET
        {
    ", ".join(
        f"{column.strip()} = excluded.{column.strip()}"
        for column in [*SPAN_COLUMNS.split(","), "resource_id", "body"]
    )
}
    WHERE excluded.end_nanos != 0 OR spans.end_nanos = 0
"""  # noqa: S608 - of constants

_INSERT_TRACE: Final = """
    INSERT OR REPLACE INTO traces
        (trace_id, name, service, start_nanos, duration_nanos, spans, errors, open_spans, status,
         stitch, session, method, tool, services, received_millis)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_TRIM_TRACES: Final = 200
"""How many traces are taken out at once while the file is too large."""

_TRIM_TO: Final = 0.95
"""To what share of its bound the file is brought, so that not every commit has to."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the spans of several requests.

    Attributes:
        refused: For each request, how many of its spans were one too many for their trace.
        changed: The traces that changed.
    """

    refused: Sequence[int]
    changed: frozenset[str]


def write_spans(
    connection: sqlite3.Connection,
    requests: Sequence[Sequence[Received]],
    *,
    now_millis: int,
    max_trace_spans: int,
) -> Written:
    """Write the spans of several requests, and bring their traces up to date.

    Args:
        connection: In a transaction.
        requests: The spans of each request.
        now_millis: The time, in milliseconds since the Unix epoch.
        max_trace_spans: How many spans of one trace are kept.
    """
    counts: dict[str, int] = {}
    resources: dict[str, int] = {}
    refused = [0] * len(requests)
    changed: set[str] = set()
    for place, spans in enumerate(requests):
        for received in spans:
            trace_id = received.span.trace_id
            if trace_id not in counts:
                counts[trace_id] = _count(connection, trace_id)
            if counts[trace_id] >= max_trace_spans and not _is_there(connection, received):
                refused[place] += 1
                continue
            if received.resource not in resources:
                resources[received.resource] = _resource_id(connection, received.resource)
            connection.execute(_INSERT_SPAN, _values_of(received, resources[received.resource]))
            counts[trace_id] += 1
            changed.add(trace_id)
            _write_links(connection, received)
    for trace_id in changed:
        _sum_up(connection, trace_id, now_millis)
    return Written(refused, frozenset(changed))


def trim(connection: sqlite3.Connection, *, max_bytes: int, received_since_millis: int) -> int:
    """Take out the traces that are too old, and then the oldest until the file is small enough.

    Age counts from when the last span of a trace came. What is taken out leaves room in the file
    for what comes; the file does not shrink.

    Returns:
        How many traces went.
    """
    old = connection.execute(
        "SELECT trace_id FROM traces WHERE received_millis < ?", (received_since_millis,)
    )
    gone = _delete(connection, [each for (each,) in old])
    if _used_bytes(connection) <= max_bytes:
        return gone
    while _used_bytes(connection) > max_bytes * _TRIM_TO:
        oldest = connection.execute(
            "SELECT trace_id FROM traces ORDER BY received_millis, trace_id LIMIT ?",
            (_TRIM_TRACES,),
        )
        taken = _delete(connection, [each for (each,) in oldest], until_bytes=max_bytes * _TRIM_TO)
        if not taken:
            break
        gone += taken
    return gone


def _count(connection: sqlite3.Connection, trace_id: str) -> int:
    row = connection.execute("SELECT count(*) FROM spans WHERE trace_id = ?", (trace_id,))
    count: int = row.fetchone()[0]
    return count


def _is_there(connection: sqlite3.Connection, received: Received) -> bool:
    row = connection.execute(
        "SELECT 1 FROM spans WHERE trace_id = ? AND span_id = ?",
        (received.span.trace_id, received.span.span_id),
    )
    return row.fetchone() is not None


def _resource_id(connection: sqlite3.Connection, body: str) -> int:
    connection.execute("INSERT OR IGNORE INTO resources (body) VALUES (?)", (body,))
    row = connection.execute("SELECT resource_id FROM resources WHERE body = ?", (body,))
    resource_id: int = row.fetchone()[0]
    return resource_id


def _values_of(received: Received, resource_id: int) -> tuple[object, ...]:
    span = received.span
    return (
        span.trace_id,
        span.span_id,
        span.parent_id,
        span.name,
        span.kind,
        span.service,
        span.instance,
        span.start_nanos,
        span.end_nanos,
        span.status,
        span.failure,
        span.parent_is_remote,
        span.session,
        span.method,
        span.tool,
        span.starts,
        resource_id,
        received.body,
    )


def _write_links(connection: sqlite3.Connection, received: Received) -> None:
    span = received.span
    if span.links:
        connection.executemany(
            "INSERT OR REPLACE INTO links VALUES (?, ?, ?, ?, ?)",
            [
                (span.trace_id, span.span_id, place, trace_id, span_id)
                for place, (trace_id, span_id) in enumerate(span.links)
            ],
        )


def _sum_up(connection: sqlite3.Connection, trace_id: str, now_millis: int) -> None:
    rows = connection.execute(
        f"SELECT {SPAN_COLUMNS} FROM spans WHERE trace_id = ?",  # noqa: S608 - a constant
        (trace_id,),
    )
    summary = summarise([span_of(row) for row in rows])
    connection.execute("DELETE FROM facets WHERE trace_id = ?", (trace_id,))
    connection.execute(
        _INSERT_TRACE,
        (
            trace_id,
            summary.name,
            summary.service,
            summary.start_nanos,
            summary.duration_nanos,
            summary.spans,
            summary.errors,
            summary.open_spans,
            summary.status,
            summary.stitch,
            summary.session,
            summary.method,
            summary.tool,
            json.dumps(summary.services, ensure_ascii=False),
            now_millis,
        ),
    )
    connection.executemany(
        "INSERT OR IGNORE INTO facets VALUES (?, ?, ?)", _facets(summary, trace_id)
    )


def _facets(summary: Summary, trace_id: str) -> Iterable[tuple[str, str, str]]:
    for field, values in (
        ("service", summary.services),
        ("session", summary.sessions),
        ("method", summary.methods),
        ("tool", summary.tools),
    ):
        for value in values:
            yield field, value, trace_id


def _delete(
    connection: sqlite3.Connection, trace_ids: Sequence[str], *, until_bytes: float = 0.0
) -> int:
    """Take traces out, in order, until the file is small enough; returns how many went."""
    gone = 0
    for trace_id in trace_ids:
        if until_bytes and _used_bytes(connection) <= until_bytes:
            break
        resources = connection.execute(
            "SELECT DISTINCT resource_id FROM spans WHERE trace_id = ?", (trace_id,)
        ).fetchall()
        connection.execute("DELETE FROM spans WHERE trace_id = ?", (trace_id,))
        connection.execute("DELETE FROM links WHERE trace_id = ?", (trace_id,))
        connection.execute("DELETE FROM traces WHERE trace_id = ?", (trace_id,))
        connection.executemany(
            "DELETE FROM resources WHERE resource_id = ? AND NOT EXISTS "
            "(SELECT 1 FROM spans WHERE spans.resource_id = resources.resource_id)",
            resources,
        )
        gone += 1
    return gone


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages: int = connection.execute("PRAGMA page_count").fetchone()[0]
    free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    size: int = connection.execute("PRAGMA page_size").fetchone()[0]
    return (pages - free) * size
