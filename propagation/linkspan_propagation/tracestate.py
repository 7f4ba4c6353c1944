"""The ``tracestate`` field: members in order, newest first.

Pure: no gRPC, no OpenTelemetry. ``carriers`` lies above it. The grammar is W3C Trace Context Level
2,
https://www.w3.org/TR/trace-context-2/#tracestate-header-field-values.

Invariant: ``parse_tracestate`` gives a list that is valid as a whole, or an empty one: a vendor's
member is opaque, so a list that is broken in one place is not trusted in another, and the trace
goes on without it (https://www.w3.org/TR/trace-context-2/#tracestate-header: "vendors MUST NOT
fail").
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

TRACESTATE: Final = "tracestate"
"""Name of the field. https://www.w3.org/TR/trace-context-2/#tracestate-header"""

MAX_MEMBERS: Final = 32
"""https://www.w3.org/TR/trace-context-2/#list"""

Member = tuple[str, str]

# https://www.w3.org/TR/trace-context-2/#key and #value
_MEMBER: Final = re.compile(
    r"(?P<key>[a-z0-9][a-z0-9_\-*/@]{0,255})="
    r"(?P<value>[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)


def parse_tracestate(values: Iterable[str]) -> tuple[Member, ...]:
    """Read the values of one or several ``tracestate`` fields as one list.

    Several fields are joined in order, as RFC 9110, section 5.3, joins list fields; empty members
    are allowed and skipped. More than ``MAX_MEMBERS`` members, a key that comes twice or a member
    outside the grammar give an empty list.
    """
    members: dict[str, str] = {}
    for value in values:
        for text in value.split(","):
            stripped = text.strip(" \t")
            if not stripped:
                continue
            match = _MEMBER.fullmatch(stripped)
            if match is None:
                return ()
            key, opaque = match.groups()
            if key in members:
                return ()
            members[key] = opaque
    return tuple(members.items()) if len(members) <= MAX_MEMBERS else ()


def format_tracestate(members: Iterable[Member]) -> str:
    """Write a field value; an empty string for no member."""
    return ",".join(f"{key}={value}" for key, value in members)


def shorten_tracestate(members: Sequence[Member], max_bytes: int) -> str:
    """Write as many members as fit into ``max_bytes``, dropping from the right.

    The rightmost member is the oldest, changed longest ago, and the first to go:
    https://www.w3.org/TR/trace-context-2/#tracestate-limits.
    """
    text = format_tracestate(members)
    while len(text) > max_bytes and text:
        text = text.rpartition(",")[0]
    return text
