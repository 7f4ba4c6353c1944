"""The headers of MCP over HTTP: what they are called, and how a value is read that HTTP cannot carry.

Pure. Above lie `modern` and `admission`. tests/unit/worker/test_modern.py holds this equal to what
the MCP SDK's clients write and its servers read.

Source: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

import re
from base64 import b64decode, b64encode
from typing import Final

from linkspan_worker.headers import Headers

VERSION_HEADER: Final = "mcp-protocol-version"
METHOD_HEADER: Final = "mcp-method"
NAME_HEADER: Final = "mcp-name"

ROUTING_HEADERS: Final = frozenset({VERSION_HEADER, METHOD_HEADER, NAME_HEADER})
"""What whoever stands between client and worker may route by, and the body says again."""

_WRAPPED: Final = re.compile(r"=\?base64\?(.*)\?=")


def decode_header_value(value: str | None) -> str | None:
    """Read a value as its sender meant it: `=?base64?...?=` wraps UTF-8 that no header can hold.

    Args:
        value: The header's value; None if it was not sent.

    Returns:
        What was wrapped, or the value itself if nothing was. None if it was not sent, or what is
        wrapped is not UTF-8 in base64, in the one form that an encoder writes: so that no two
        values are the same name to one reader and two to another.
    """
    if value is None or (wrapped := _WRAPPED.fullmatch(value)) is None:
        return value
    payload = wrapped[1]
    try:
        octets = b64decode(payload, validate=True)
        text = octets.decode()
    except ValueError:
        return None
    return text if b64encode(octets).decode() == payload else None


def duplicated_routing_header(headers: Headers) -> str | None:
    """Return the first of the routing headers to come a second time; None if each came once.

    Of two values, who stands between might have routed by the other one.
    """
    seen: set[str] = set()
    for name, _ in headers.pairs():
        if name in seen:
            return name
        if name in ROUTING_HEADERS:
            seen.add(name)
    return None
