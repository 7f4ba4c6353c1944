"""Rows of the file and the plain values they stand for. Pure."""

import json
from dataclasses import dataclass
from typing import Any, Final

from linkspan_traces.analysis.tree import WHOLE
from linkspan_traces.model import JsonObject, Span

SPAN_COLUMNS: Final = (
    "trace_id, span_id, parent_id, name, kind, service, instance, start_nanos, end_nanos, status, "
    "failure, parent_is_remote, session, method, tool, starts"
)
"""What `span_of` reads, in order."""

TRACE_COLUMNS: Final = (
    "trace_id, name, service, start_nanos, duration_nanos, spans, errors, open_spans, status, stitch, "
    "session, method, tool, services, received_millis"
)
"""What `ListedTrace.of` reads, in order."""

SETTLED_AFTER_MILLIS: Final = 10_000
"""How long a trace may wait for spans of other processes, which send in batches, before it counts as
one that does not stitch."""

Row = tuple[Any, ...]


def span_of(row: Row, links: tuple[tuple[str, str], ...] = ()) -> Span:
    """Read a row of `SPAN_COLUMNS`."""
    remote: int | None = row[11]
    return Span(
        trace_id=row[0],
        span_id=row[1],
        parent_id=row[2],
        name=row[3],
        kind=row[4],
        service=row[5],
        instance=row[6],
        start_nanos=row[7],
        end_nanos=row[8],
        status=row[9],
        failure=row[10],
        parent_is_remote=None if remote is None else bool(remote),
        session=row[12],
        method=row[13],
        tool=row[14],
        starts=row[15],
        links=links,
    )


@dataclass(frozen=True, slots=True)
class ListedTrace:
    """A trace as lists show it; see `analysis.summary.Summary` for most of it.

    Attributes:
        received_millis: When its last span came, in milliseconds since the Unix epoch.
    """

    trace_id: str
    name: str
    service: str
    start_nanos: int
    duration_nanos: int
    spans: int
    errors: int
    open_spans: int
    status: str
    stitch: str
    session: str
    method: str
    tool: str
    services: tuple[str, ...]
    received_millis: int

    @classmethod
    def of(cls, row: Row) -> "ListedTrace":
        """Read a row of `TRACE_COLUMNS`."""
        values = list(row)
        values[13] = tuple(json.loads(row[13]))
        return cls(*values)

    def is_arriving(self, now_millis: int) -> bool:
        """Tell whether spans that it lacks may still come."""
        return self.stitch != WHOLE and now_millis - self.received_millis < SETTLED_AFTER_MILLIS

    def to_json(self, now_millis: int) -> JsonObject:
        """Write it for the API; `start_nanos` is text, and `arriving` is as of now."""
        return {
            "trace_id": self.trace_id,
            "name": self.name,
            "service": self.service,
            "start_nanos": str(self.start_nanos),
            "duration_nanos": self.duration_nanos,
            "spans": self.spans,
            "errors": self.errors,
            "open_spans": self.open_spans,
            "status": self.status,
            "stitch": self.stitch,
            "arriving": self.is_arriving(now_millis),
            "session": self.session,
            "method": self.method,
            "tool": self.tool,
            "services": self.services,
            "received_millis": self.received_millis,
        }
