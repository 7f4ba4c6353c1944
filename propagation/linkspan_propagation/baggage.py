"""The ``baggage`` field: the caller's own key-value pairs, carried beside the trace.

Pure: no gRPC, no OpenTelemetry. ``carriers`` lies above it. The grammar is W3C Baggage,
https://www.w3.org/TR/baggage/#header-content.

Invariants: a member that is not valid is left out, and the others stay, for members are independent
of each other. Properties after a ``;`` are read over: OpenTelemetry's baggage has no place for
them. Writing never fails for what a value holds.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, unquote

BAGGAGE: Final = "baggage"
"""Name of the field. https://www.w3.org/TR/baggage/#header-name"""

MAX_MEMBERS: Final = 64
"""More than a platform has to carry on. https://www.w3.org/TR/baggage/#limits"""

MAX_BYTES: Final = 8192
"""https://www.w3.org/TR/baggage/#limits"""

# A key is an RFC 9110 token; a value is baggage-octets, everything else percent-encoded.
# https://www.w3.org/TR/baggage/#definition
_MEMBER: Final = re.compile(
    r"(?P<key>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*=[ \t]*"
    r"(?P<value>[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*)[ \t]*(;.*)?"
)
_KEY: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# Written bare. Plus and percent are left out on purpose: readers that take a value for a form field
# read "+" as a blank, and "%2B" is a plus to all of them.
_SAFE: Final = "!#$&'()*-./:<=>?@[]^_`{|}~"


def parse_baggage(values: Iterable[str]) -> dict[str, str]:
    """Read the values of one or several ``baggage`` fields; a repeated key has its last value.

    What lies beyond ``MAX_BYTES`` of text or ``MAX_MEMBERS`` members is left out.
    """
    members: dict[str, str] = {}
    room_bytes = MAX_BYTES
    for value in values:
        for text in value.split(","):
            room_bytes -= len(text) + 1
            if room_bytes < -1 or len(members) >= MAX_MEMBERS:
                return members
            match = _MEMBER.fullmatch(text.strip(" \t"))
            if match is not None:
                members[match["key"]] = unquote(match["value"], errors="replace")
    return members


def format_baggage(members: Mapping[str, object]) -> list[str]:
    """Write each pair as a list member; a key that is no token, hence not writable, is left out.

    Values go through ``str`` and are percent-encoded as UTF-8; a lone surrogate becomes ``?``.
    """
    return [
        f"{key}={quote(str(value), safe=_SAFE, errors='replace')}"
        for key, value in members.items()
        if _KEY.fullmatch(key) is not None
    ]


def join_baggage(own: Iterable[str], others: Iterable[str], max_bytes: int) -> str:
    """Join list members into one value of at most ``max_bytes``, dropping from the right.

    A member of ``others`` whose key is also in ``own`` is left out: ``own`` is nearer to the call.
    """
    members = list(own)
    taken = {member.partition("=")[0].strip(" \t") for member in members}
    members += [
        member for member in others if member and member.partition("=")[0].strip(" \t") not in taken
    ]
    text = ",".join(members[:MAX_MEMBERS])
    while len(text) > max_bytes and text:
        text = text.rpartition(",")[0]
    return text
