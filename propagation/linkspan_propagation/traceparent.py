"""The ``traceparent`` field: text to ids and back.

Pure: no gRPC, no OpenTelemetry. ``carriers`` lies above it. The grammar is W3C Trace Context Level
2,
https://www.w3.org/TR/trace-context-2/#traceparent-header-field-values:

    traceparent = version "-" trace-id "-" parent-id "-" trace-flags [ "-" of-a-later-version ]

Invariants: a value that ``parse_traceparent`` accepts has non-zero ids and flags known to Level 2;
``format_traceparent`` of it is a valid version-00 value that parses to the same.
"""

import re
from dataclasses import dataclass
from typing import Final

TRACEPARENT: Final = "traceparent"
"""Name of the field, lower case: gRPC refuses upper case, HTTP/1.1 does not care.
https://www.w3.org/TR/trace-context-2/#header-name"""

KNOWN_FLAGS: Final = 0x03
"""sampled (0x01) and random-trace-id (0x02). The others "MUST be set to zero" when passed on.
https://www.w3.org/TR/trace-context-2/#other-flags"""

# https://www.w3.org/TR/trace-context-2/#versioning-of-traceparent: a higher version is read by the
# fields of version 00, and what follows them has to begin with a dash. Lower case only.
_PATTERN: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace_id>[0-9a-f]{32})-(?P<span_id>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<later>-.*)?"
)
_VERSION_00: Final = "00"
_LENGTH_00: Final = 55
_CHARACTERS_00: Final = "0123456789abcdef-"
_VERSION_INVALID: Final = "ff"  # https://www.w3.org/TR/trace-context-2/#version


@dataclass(frozen=True, slots=True)
class TraceParent:
    """The caller's place in a trace.

    Attributes:
        trace_id: 128 bits, never zero.
        span_id: 64 bits, never zero; the specification's ``parent-id``.
        flags: bits of ``KNOWN_FLAGS``.
    """

    trace_id: int
    span_id: int
    flags: int


def parse_traceparent(text: str) -> TraceParent | None:
    """Read one ``traceparent`` value; None where it is not valid.

    Blanks and tabs around the value are not part of a field's value (RFC 9110, section 5.5).
    Version ff, upper case, zero ids and a version 00 with anything after its flags are not valid.

    Source: https://www.w3.org/TR/trace-context-2/#traceparent-header-field-values
    """
    found = read_traceparent(text)
    return None if found is None else TraceParent(*found)


def read_traceparent(text: str) -> tuple[int, int, int] | None:
    """Do what ``parse_traceparent`` does, and return trace id, span id and flags.

    Every RPC is read by this, nearly always a value of version 00 with nothing around it: that one
    is read without the pattern, and no object is made for it.
    """
    if (
        len(text) == _LENGTH_00
        and text.startswith("00-")
        and text[35] == text[52] == "-"
        and text.count("-") == 3  # noqa: PLR2004 - and no more
        and not text.strip(_CHARACTERS_00)
    ):
        trace_id, span_id = int(text[3:35], 16), int(text[36:52], 16)
        if trace_id == 0 or span_id == 0:
            return None
        return trace_id, span_id, int(text[53:], 16) & KNOWN_FLAGS
    match = _PATTERN.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    version, trace_id_hex, span_id_hex, flags_hex, later = match.groups()
    if version == _VERSION_INVALID or (version == _VERSION_00 and later is not None):
        return None
    trace_id, span_id = int(trace_id_hex, 16), int(span_id_hex, 16)
    if trace_id == 0 or span_id == 0:
        return None
    return trace_id, span_id, int(flags_hex, 16) & KNOWN_FLAGS


def format_traceparent(trace_id: int, span_id: int, flags: int) -> str:
    """Write a version-00 value of 55 characters; flags outside ``KNOWN_FLAGS`` are written as zero.

    Raises:
        ValueError: an id is zero or wider than its field (128 and 64 bits).
    """
    if not 0 < trace_id < 1 << 128 or not 0 < span_id < 1 << 64:
        raise ValueError("a trace id has 1 to 128 bits, a span id 1 to 64, and neither is zero")
    return f"00-{trace_id:032x}-{span_id:016x}-{flags & KNOWN_FLAGS:02x}"
