"""Which traces are meant: what a search asks for, from words and to SQL. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from linkspan_traces.errors import BadRequestError
from linkspan_traces.model import MAX_NANOS
from linkspan_traces.session_names import digest_of

STATUSES: Final = ("ok", "warning", "error", "failed", "open", "unstitched")
"""What can be asked of a trace's state: `failed` is warning or error; `unstitched` is one that does
not stitch, the caller's span missing included."""

FIELDS: Final = ("service", "session", "method", "tool")
"""What is searched by a value of a span."""

MAX_PAGE: Final = 500
DEFAULT_PAGE: Final = 50

_TRACE_ID: Final = re.compile(r"[0-9a-f]{1,32}")
_CURSOR: Final = re.compile(r"([0-9]{1,19})-([0-9a-f]{32})")
_NANOS_A_MILLI: Final = 1_000_000
_MAX_MILLIS: Final = 1e12

_BY_STATUS: Final = {
    "ok": "status = 'ok'",
    "warning": "status = 'warning'",
    "error": "status = 'error'",
    "failed": "status != 'ok'",
    "open": "open_spans > 0",
    "unstitched": "stitch != 'whole'",
}
_NAMES: Final = frozenset(
    {"trace", "status", "min_ms", "max_ms", "limit", "cursor", "order", *FIELDS}
)


@dataclass(frozen=True, slots=True)
class Search:
    """What a trace has to be like; what is empty or None asks for nothing.

    Attributes:
        trace: What its id begins with.
        facets: Field and value that one of its spans has, of `FIELDS`.
        status: One of `STATUSES`.
        min_nanos: How long it took at least.
        max_nanos: How long it took at most.
        limit: How many to return at most.
        after: Where to go on: start and id of the last trace that was returned.
        oldest_first: Whether to begin with the oldest.
    """

    trace: str = ""
    facets: tuple[tuple[str, str], ...] = ()
    status: str = ""
    min_nanos: int | None = None
    max_nanos: int | None = None
    limit: int = DEFAULT_PAGE
    after: tuple[int, str] | None = None
    oldest_first: bool = False

    def where(self) -> tuple[str, list[object]]:
        """Write the search as an SQL condition on `traces` and its parameters."""
        conditions, values = ["1"], list[object]()
        if self.trace:
            conditions.append("trace_id >= ? AND trace_id <= ?")
            values += [self.trace, self.trace + "g"]
        for field, value in self.facets:
            conditions.append(
                "trace_id IN (SELECT trace_id FROM facets WHERE field = ? AND value = ?)"
            )
            values += [field, value]
        if self.status:
            conditions.append(_BY_STATUS[self.status])
        if self.min_nanos is not None:
            conditions.append("duration_nanos >= ?")
            values.append(self.min_nanos)
        if self.max_nanos is not None:
            conditions.append("duration_nanos <= ?")
            values.append(self.max_nanos)
        if self.after is not None:
            conditions.append(f"(start_nanos, trace_id) {'>' if self.oldest_first else '<'} (?, ?)")
            values += self.after
        return " AND ".join(conditions), values


def read_search(words: Mapping[str, str]) -> Search:
    """Read a search from the parameters of a query.

    `trace` (an id or how it begins), `session` (an id or its digest), `method`, `tool`, `service`,
    `status`, `min_ms`, `max_ms`, `limit`, `cursor` and `order` (`newest` or `oldest`); an empty
    value asks for nothing.

    Raises:
        BadRequestError: One of them is unknown or bad.
    """
    unknown = sorted(words.keys() - _NAMES)
    if unknown:
        raise BadRequestError(
            f"{unknown[0][:40]!r} is no parameter; use {', '.join(sorted(_NAMES))}"
        )
    given = {name: value.strip() for name, value in words.items() if value.strip()}
    facets = [(field, given[field]) for field in FIELDS if field in given]
    status = given.get("status", "")
    if status and status not in STATUSES:
        raise BadRequestError(f"status must be one of {', '.join(STATUSES)}")
    order = given.get("order", "newest")
    if order not in ("newest", "oldest"):
        raise BadRequestError("order must be newest or oldest")
    return Search(
        trace=_trace(given.get("trace", "")),
        facets=tuple((field, digest_of(v) if field == "session" else v) for field, v in facets),
        status=status,
        min_nanos=_nanos(given, "min_ms"),
        max_nanos=_nanos(given, "max_ms"),
        limit=read_limit(given.get("limit", "")),
        after=_cursor(given.get("cursor", "")),
        oldest_first=order == "oldest",
    )


def cursor(start_nanos: int, trace_id: str) -> str:
    """Write where a list goes on."""
    return f"{start_nanos}-{trace_id}"


def _trace(text: str) -> str:
    lower = text.lower()
    if lower and _TRACE_ID.fullmatch(lower) is None:
        raise BadRequestError("a trace id is up to 32 hex digits")
    return lower


def _nanos(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name, "")
    if not text:
        return None
    try:
        millis = float(text)
    except ValueError:
        millis = -1.0
    if not 0 <= millis <= _MAX_MILLIS:
        raise BadRequestError(f"{name} must be a number of milliseconds")
    return round(millis * _NANOS_A_MILLI)


def read_limit(text: str) -> int:
    """Read how many a page may hold; an empty text leaves it at `DEFAULT_PAGE`.

    Raises:
        BadRequestError: It is no number from 1 to `MAX_PAGE`.
    """
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0  # noqa: PLR2004
    if not text:
        return DEFAULT_PAGE
    if not 0 < limit <= MAX_PAGE:
        raise BadRequestError(f"limit must be a number from 1 to {MAX_PAGE}")
    return limit


def _cursor(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    match = _CURSOR.fullmatch(text)
    if match is None or int(match[1]) > MAX_NANOS:
        raise BadRequestError("the cursor is not one that was given out")
    return int(match[1]), match[2]
