"""What is known of a span, in plain values. Pure; everything else here speaks in these.

Times are nanoseconds since the Unix epoch, as the clock of the span's own process had them. Ids are
lower-case hex: 32 digits for a trace, 16 for a span; an empty string is no id.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

KINDS: Final = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
"""The kinds of spans, by their number in OTLP."""

STATUSES: Final = ("UNSET", "OK", "ERROR")
"""The statuses of spans, by their number in OTLP."""

MAX_NANOS: Final = 2**63 - 1
"""The last instant that SQLite can hold, in the year 2262."""

JsonObject: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Span:
    """What lists, trees and waterfalls need of a span.

    Attributes:
        trace_id: The trace.
        span_id: The span.
        parent_id: The parent; empty for a root.
        name: Its name.
        kind: One of `KINDS`.
        service: `service.name` of its resource; empty if it has none.
        instance: `service.instance.id`, or else `process.pid`, of its resource; may be empty.
        start_nanos: When it began.
        end_nanos: When it ended; 0 if it is not known to have ended.
        status: One of `STATUSES`.
        failure: What went wrong, such as `error.type` says; empty if nothing is known to have.
        parent_is_remote: Whether the parent is in another process; None if the span does not say.
        session: The digest of the MCP session's id, or an empty string.
        method: The MCP method, or an empty string.
        tool: The MCP tool, or an empty string.
        starts: For a start marker, the id of the span whose beginning it tells; else empty.
        links: The trace and span ids of the spans that it links to.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    name: str = ""
    kind: str = "INTERNAL"
    service: str = ""
    instance: str = ""
    start_nanos: int = 0
    end_nanos: int = 0
    status: str = "UNSET"
    failure: str = ""
    parent_is_remote: bool | None = None
    session: str = ""
    method: str = ""
    tool: str = ""
    starts: str = ""
    links: tuple[tuple[str, str], ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it is not known to have ended."""
        return self.end_nanos == 0


@dataclass(frozen=True, slots=True)
class Received:
    """A span as it came, with all that it says.

    Attributes:
        span: What lists and trees need.
        body: The span in OTLP's JSON form, without its ids, name, kind and times.
        resource: Resource and scope in OTLP's JSON form.
    """

    span: Span
    body: str
    resource: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """One export request, read.

    Attributes:
        spans: Those that can be kept.
        rejected: How many cannot.
        reason: Why the first of those cannot; empty if there is none.
    """

    spans: tuple[Received, ...] = field(default=())
    rejected: int = 0
    reason: str = ""
