"""Which web pages may use a worker, and what their browsers are told so that they can: CORS.

Pure, and light. Above lie `origin`, which refuses other pages, `endpoint` and `app`, which put these
headers on their answers; below lies nothing. Invariants: one list decides who is refused and who is
told anything; an origin is named only to itself, never `*`; credentials that a browser adds by
itself (cookies) are never allowed, for the worker knows none.

Sources: https://fetch.spec.whatwg.org/#http-cors-protocol;
https://html.spec.whatwg.org/multipage/browsers.html#ascii-serialisation-of-an-origin
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import urlsplit

from linkspan_process.hosts import is_loopback
from linkspan_worker.headers import HeaderValues

EXPOSED_HEADERS: Final = (
    "Mcp-Session-Id",
    "MCP-Protocol-Version",
    "WWW-Authenticate",
    "traceresponse",
    "Retry-After",
    "Allow",
    "Date",
)
"""What a page may read of an answer beside what any may, such as `Content-Type`."""

_METHODS: Final = "GET, POST, DELETE"

_REQUEST_HEADERS: Final = frozenset(
    {
        "accept",
        "authorization",
        "baggage",
        "cache-control",  # event sources written in JavaScript send it
        "content-type",
        "last-event-id",
        "traceparent",
        "tracestate",
    }
)
_REQUEST_HEADER_PREFIX: Final = "mcp-"
"""MCP's own: `Mcp-Session-Id`, `MCP-Protocol-Version`, `Mcp-Method`, `Mcp-Name`, any `Mcp-Param-*`."""

_MAX_REQUEST_HEADERS: Final = 200
_MAX_AGE_SECONDS: Final = 7200
"""For how long a browser need not ask again: as long as Chromium ever remembers it."""

_MAX_ORIGIN_CHARS: Final = 300
"""A scheme, a host of 253 characters and a port."""

_ORIGIN: Final = re.compile(
    r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
)
_HOST: Final = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:]*:[0-9a-f:.]+")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_VARY: Final = "vary: Origin\r\n"
_CACHED_METHODS: Final = ("GET", "HEAD")


class Pages:
    """The pages that may use a worker: those of this machine, and those of the allowed origins."""

    def __init__(self, origins: frozenset[str]) -> None:
        """Make it.

        Args:
            origins: The origins of pages that may, beside those of this machine.
        """
        self._origins = origins

    def may_use(self, origins: list[str]) -> bool:
        """Tell whether a request with these values of `Origin` may be served.

        None at all is a client that is no browser, or a page of the worker's own origin that reads;
        several are nobody's.
        """
        if not origins:
            return True
        origin = origins[0]
        return len(origins) == 1 and (origin in self._origins or _is_of_this_machine(origin))

    def fields(self, headers: HeaderValues, method: str) -> str:
        """Write the headers that any answer to this request needs, an error too, for its page.

        Each has its line end. Empty for a request that no browser sent. A page of another origin
        is told nothing, so that its browser keeps the answer from it.
        """
        origins = headers.all("origin")
        if not origins:
            # A cache must not give a page what was an answer to a request without origin. Only
            # these methods' answers are kept where nothing says how long (RFC 9110, section 15.1).
            return _VARY if method in _CACHED_METHODS else ""
        if not self.may_use(origins):
            return _VARY
        if method == "OPTIONS" and headers.get("access-control-request-method") is not None:
            return _allowed(origins[0], headers.all("access-control-request-headers"))
        return _readable(origins[0])


def parse_origins(text: str) -> frozenset[str]:
    """Take origins separated by commas, written as browsers write them.

    Raises:
        ValueError: One is no origin; `null` and `*` are none that may be allowed.
    """
    origins = frozenset(word.strip() for word in text.split(",") if word.strip())
    for origin in sorted(origins):
        if not _is_as_browsers_write_it(origin):
            raise ValueError(
                "must be origins as browsers write them, such as https://app.example.com: in lower "
                f"case, without path, and without a port that is the scheme's own; not {origin!r}"
            )
    return origins


def parse_hosts(text: str) -> frozenset[str]:
    """Take names of hosts separated by commas, without ports.

    Raises:
        ValueError: One is no name.
    """
    hosts = frozenset(word.strip().lower() for word in text.split(",") if word.strip())
    for host in sorted(hosts):
        if _HOST.fullmatch(host) is None or (":" in host and not _is_ipv6(host)):
            raise ValueError(
                f"must be names or addresses without ports, such as mcp.example.com, not {host!r}"
            )
    return hosts


def _is_ipv6(host: str) -> bool:
    try:
        return bool(IPv6Address(host))
    except ValueError:  # such as a name of few letters with a port behind it
        return False


def host_name(host: str) -> str | None:
    """Return the name in a `Host`, in lower case, without its port; None if there is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # such as an unclosed bracket
        return None


def is_allowed_request_header(name: str) -> bool:
    """Tell whether a page may send a header; `name` in lower case.

    By prefix where MCP lets clients make names up: a preflight asks for each by its exact name.
    """
    return name in _REQUEST_HEADERS or name.startswith(_REQUEST_HEADER_PREFIX)


def _readable(origin: str) -> str:
    return (
        f"access-control-allow-origin: {origin}\r\n"
        f"access-control-expose-headers: {', '.join(EXPOSED_HEADERS)}\r\n{_VARY}"
    )


def _allowed(origin: str, wanted: Iterable[str]) -> str:
    """Answer a preflight: with those headers that are asked for and may be sent."""
    names = [name.strip().lower() for name in ",".join(wanted).split(",", _MAX_REQUEST_HEADERS)]
    # The last may be all the rest, which is no token.
    shown = [name for name in names if is_allowed_request_header(name) and _TOKEN.fullmatch(name)]
    allowed = f"access-control-allow-headers: {', '.join(shown)}\r\n" if shown else ""
    return (
        f"access-control-allow-origin: {origin}\r\n"
        f"access-control-allow-methods: {_METHODS}\r\n"
        f"{allowed}"
        f"access-control-max-age: {_MAX_AGE_SECONDS}\r\n"
        "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
    )


def _is_of_this_machine(origin: str) -> bool:
    # Not remembered where it could be long: who sends it is nobody in particular.
    return len(origin) <= _MAX_ORIGIN_CHARS and _is_at_loopback(origin)


@lru_cache(256)
def _is_at_loopback(origin: str) -> bool:
    """Tell whether an origin is of this machine; remembered, because pages send the same ones."""
    return _ORIGIN.fullmatch(origin) is not None and is_loopback(
        host_name(origin.partition("://")[2])
    )


def _is_as_browsers_write_it(origin: str) -> bool:
    if len(origin) > _MAX_ORIGIN_CHARS or _ORIGIN.fullmatch(origin) is None:
        return False
    try:
        parts = urlsplit(origin)
        return parts.port is None or parts.port != _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:  # a port over 65535, or brackets around what is no address
        return False
