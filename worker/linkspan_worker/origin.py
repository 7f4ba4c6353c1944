"""Which web pages may talk to a worker: the check against DNS rebinding.

Pure. A web page can have a browser send requests to a server on the user's own machine, by having a
name of its own resolve to 127.0.0.1. The browser then says so: `Host` holds that name, and `Origin`
the page's. `Origin` is checked always; `Host` only by a worker that serves on loopback, since one
that serves elsewhere is behind something that knows its names.

Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning
"""

from functools import lru_cache
from http import HTTPStatus
from urllib.parse import urlsplit

from linkspan_contract.envelope import INVALID_REQUEST
from linkspan_process.hosts import is_loopback
from linkspan_worker.failures import Refusal
from linkspan_worker.headers import Headers


def refuse_rebinding(
    headers: Headers, *, loopback_only: bool, allowed_origins: frozenset[str]
) -> Refusal | None:
    """Refuse a request that names another host, or comes from a web page that may not send any.

    Args:
        headers: The request's headers.
        loopback_only: Whether the server answers to this machine only, and so to its names only.
        allowed_origins: The origins of pages that may send requests, beside those of this machine.

    A missing `Origin` is a client that is no browser, and passes.
    """
    host = headers.get("host")
    if loopback_only and host is not None and not _is_at_loopback(f"//{host}"):
        return Refusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            INVALID_REQUEST,
            "Misdirected request: this server answers to localhost only",
            "421",
        )
    origin = headers.get("origin")
    if origin is None or origin in allowed_origins or _is_at_loopback(origin):
        return None
    return Refusal(
        HTTPStatus.FORBIDDEN,
        INVALID_REQUEST,
        "Forbidden: requests from this origin are not allowed; see --allowed-origins",
        "403",
    )


@lru_cache(256)
def _is_at_loopback(url: str) -> bool:
    """Tell whether a URL is of this machine; remembered, because clients send the same ones."""
    return is_loopback(_hostname(url))


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # such as an unclosed bracket
        return None
