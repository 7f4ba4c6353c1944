"""Who may talk to a worker on loopback: the check against DNS rebinding.

Pure. A web page can have a browser send requests to a server on the user's own machine, by having a
name of its own resolve to 127.0.0.1. The browser then says so: `Host` holds that name, and `Origin`
the page's. A worker that serves on loopback takes loopback names only; one that serves elsewhere is
behind something that knows its names, and checks nothing here.

Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning
"""

import ipaddress
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from linkspan_contract.envelope import INVALID_REQUEST
from linkspan_worker.failures import Refusal
from linkspan_worker.headers import Headers

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Tell whether an address to serve on is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host in _LOOPBACK


def refuse_rebinding(headers: Headers) -> Refusal | None:
    """Refuse a request to a loopback server that names another host or comes from a page of one.

    A missing `Origin` is a client that is no browser, and passes.
    """
    host = headers.get("host")
    if host is not None and _hostname(f"//{host}") not in _LOOPBACK:
        return Refusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            INVALID_REQUEST,
            "Misdirected request: this server answers to localhost only",
            "421",
        )
    origin = headers.get("origin")
    if origin is not None and _hostname(origin) not in _LOOPBACK:
        return Refusal(
            HTTPStatus.FORBIDDEN,
            INVALID_REQUEST,
            "Forbidden: requests from this origin are not allowed",
            "403",
        )
    return None


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # such as an unclosed bracket
        return None
