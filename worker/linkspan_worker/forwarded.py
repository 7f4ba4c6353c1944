"""What proxies write of whom they pass a request on for: `Forwarded` and `X-Forwarded-*`, read.

Pure, and light. Above lies `proxies`, which decides what of it is believed; below lies nothing.
Invariants: hops are given nearest first, since only the nearest was written by whom we talk to; what
cannot be read ends them, and is never guessed at; the time it takes is bounded and linear.

Sources: RFC 7239; for `X-Forwarded-*`, which no standard has,
https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/X-Forwarded-For and what proxies send.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple, TypeAlias

Address: TypeAlias = tuple[str, int | None]
"""An IP address or a host in its shortest form, in lower case; and a port, None if none was given."""

MAX_HOPS: Final = 32
"""How many proxies a request may have come through."""

_MAX_FIELD_CHARS: Final = 2048
"""How long one `Forwarded` may be that is read at all."""

_MAX_NODE_CHARS: Final = 64
_MAX_HOST_CHARS: Final = 253
_MAX_PORT: Final = 65535

_NODE: Final = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+))(?::(?P<port>[0-9]{1,5}|_[0-9A-Za-z._-]+))?"
    r"|(?P<bare>[0-9A-Fa-f:.]+)"
)
"""RFC 7239, section 6; `bare` is an IPv6 address as `X-Forwarded-For` has it."""

_HOST: Final = re.compile(r"(?P<name>[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")

# Possessive, so that no text is gone through twice.
_PAIR: Final = re.compile(
    r"[ \t]*+"
    r"(?:(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]++)="
    r"(?:(?P<token>[!#$%&'*+.^_`|~0-9A-Za-z-]++)"
    r'|"(?P<quoted>(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+)"))?+'
    r"[ \t]*+(?P<end>[;,]|\Z)"
)
"""One parameter, or none, and what follows it (RFC 7239, section 4; RFC 9110, section 5.6)."""

_ESCAPED: Final = re.compile(r"\\(.)")
_SCHEMES: Final = ("http", "https")


class PassedOn(NamedTuple):
    """What is known of a request that a proxy passed on, as far as that is believed.

    Attributes:
        client: For whom; None if no one can be named but the proxy itself.
        scheme: How the client sent it, `http` or `https`; empty if that is not said.
        host: What the client called; None if that is not said.
    """

    client: Address | None = None
    scheme: str = ""
    host: Address | None = None


def forwarded_hops(fields: Iterable[str]) -> Iterator[PassedOn]:
    """Read `Forwarded`, nearest hop first; ends before what cannot be read.

    A client of None is one that the proxy does not name: `unknown`, hidden, or left out.

    Args:
        fields: The values of the header, in the order in which they came.
    """
    for field in list(fields)[: -MAX_HOPS - 1 : -1]:
        hops = _elements(field)
        if hops is None:
            return
        for hop in reversed(hops):
            yield PassedOn(
                parse_node(hop.get("for", "")),
                parse_scheme(hop.get("proto", "")),
                parse_host(hop.get("host", "")),
            )


def nearest_first(fields: Iterable[str]) -> list[str]:
    """Take apart a header that is a plain list, such as `X-Forwarded-For`; nearest value first.

    Of more values than there may be hops, the nearest.
    """
    values = ",".join(fields).rsplit(",", MAX_HOPS)
    return [value.strip(" \t") for value in reversed(values)][:MAX_HOPS]


def parse_node(text: str) -> Address | None:
    """Read who somebody is; None for `unknown`, a hidden identifier, or what is no IP address."""
    return _node(text) if len(text) <= _MAX_NODE_CHARS else None


@lru_cache(1024)
def _node(text: str) -> Address | None:
    match = _NODE.fullmatch(text)
    if match is None:
        return None
    address = match["bracketed"] or match["v4"] or match["bare"]
    if match["bracketed"] and ":" not in address:
        return None
    port = match["port"] or ""
    number = int(port) if port.isdecimal() else None  # a hidden port is none
    if number is not None and number > _MAX_PORT:
        return None
    plain = plain_address(address)
    return None if plain is None else (plain, number)


def plain_address(text: str) -> str | None:
    """Write an IP address in its one shortest form; None if it is none.

    An IPv4 address inside of an IPv6 one, as a socket for both families names it, is the IPv4
    address (RFC 4291, section 2.5.5.2).
    """
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def parse_scheme(text: str) -> str:
    """Read how a client sent something; empty for what is no way that MCP is served."""
    scheme = text.lower()
    return scheme if scheme in _SCHEMES else ""


def parse_host(text: str) -> Address | None:
    """Read a `Host`; None if it is none."""
    match = _HOST.fullmatch(text) if len(text) <= _MAX_HOST_CHARS else None
    if match is None:
        return None
    port = int(match["port"]) if match["port"] else None
    if port is not None and port > _MAX_PORT:
        return None
    return match["name"].strip("[]").lower(), port


def _elements(field: str) -> list[dict[str, str]] | None:
    """Take one field apart into hops, each its parameters by lower-case name; None if it is broken."""
    if len(field) > _MAX_FIELD_CHARS:
        return None
    hops: list[dict[str, str]] = []
    hop: dict[str, str] = {}
    at = 0
    while True:
        match = _PAIR.match(field, at)
        if match is None:
            return None
        name = match["name"]
        if name is not None:
            if name.lower() in hop:  # RFC 7239, section 4: at most once
                return None
            hop[name.lower()] = match["token"] or _ESCAPED.sub(r"\1", match["quoted"] or "")
        if match["end"] != ";":
            if hop:  # an empty element of a list counts for nothing (RFC 9110, section 5.6.1.2)
                hops.append(hop)
            hop = {}
        if not match["end"]:
            return hops
        at = match.end()
