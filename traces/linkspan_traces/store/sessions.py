"""Which sessions the traces tell of, the last active first: a unit of work for `Database.read`.

A session is there for as long as one of its traces is. A trace in which several sessions are named
counts for each of them, as it is in the view of each.
"""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from linkspan_traces.errors import BadRequestError
from linkspan_traces.model import MAX_NANOS, JsonObject
from linkspan_traces.store.filters import DEFAULT_PAGE, read_limit

_CURSOR: Final = re.compile(r"([0-9]{1,19})-([0-9a-f]{16})")
_NAMES: Final = frozenset({"limit", "cursor"})


@dataclass(frozen=True, slots=True)
class SessionSearch:
    """Which part of the list is meant.

    Attributes:
        limit: How many to return at most.
        after: Where to go on: when the last session that was returned was active, and its digest.
    """

    limit: int = DEFAULT_PAGE
    after: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class ListedSession:
    """A session in one line.

    Attributes:
        session: The digest of its id.
        requests: How many traces name it.
        errors: How many of those have the status `error`.
        warnings: How many have the status `warning`.
        open: In how many a span is not known to have ended.
        first_nanos: When the first of them began, in nanoseconds since the Unix epoch.
        last_nanos: When the last known span of any of them ended.
    """

    session: str
    requests: int
    errors: int
    warnings: int
    open: int
    first_nanos: int
    last_nanos: int

    def to_json(self) -> JsonObject:
        """Write it for the API; instants are text."""
        return {
            "session": self.session,
            "requests": self.requests,
            "errors": self.errors,
            "warnings": self.warnings,
            "open": self.open,
            "first_nanos": str(self.first_nanos),
            "last_nanos": str(self.last_nanos),
        }


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Sessions, and the cursor for more; empty if there are none."""

    sessions: Sequence[ListedSession]
    next_cursor: str

    def to_json(self) -> JsonObject:
        """Write it for the API."""
        return {
            "sessions": [session.to_json() for session in self.sessions],
            "next_cursor": self.next_cursor,
        }


def read_session_search(words: Mapping[str, str]) -> SessionSearch:
    """Read what is meant from the parameters of a query, `limit` and `cursor`.

    Raises:
        BadRequestError: One of them is unknown or bad.
    """
    unknown = sorted(words.keys() - _NAMES)
    if unknown:
        raise BadRequestError(
            f"{unknown[0][:40]!r} is no parameter; use {', '.join(sorted(_NAMES))}"
        )
    text = words.get("cursor", "").strip()
    match = _CURSOR.fullmatch(text)
    if text and (match is None or int(match[1]) > MAX_NANOS):
        raise BadRequestError("the cursor is not one that was given out")
    after = (int(match[1]), match[2]) if match else None
    return SessionSearch(read_limit(words.get("limit", "").strip()), after)


def list_sessions(connection: sqlite3.Connection, search: SessionSearch) -> SessionPage:
    """Return a page of the sessions, those with the latest activity first."""
    condition, values = "1", list[object]()
    if search.after is not None:
        condition, values = "(last_nanos, value) < (?, ?)", [*search.after]
    rows = connection.execute(
        "SELECT value, count(*), sum(status = 'error'), sum(status = 'warning'), "  # noqa: S608
        "sum(open_spans > 0), min(start_nanos), max(start_nanos + duration_nanos) AS last_nanos "
        "FROM facets JOIN traces USING (trace_id) WHERE field = 'session' "
        f"GROUP BY value HAVING {condition} ORDER BY last_nanos DESC, value DESC LIMIT ?",
        (*values, search.limit + 1),
    ).fetchall()
    sessions = [ListedSession(*row) for row in rows[: search.limit]]
    more = len(rows) > search.limit
    last = sessions[-1] if more else None
    return SessionPage(sessions, f"{last.last_nanos}-{last.session}" if last else "")
