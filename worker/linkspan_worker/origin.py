"""Which requests are refused because of where they were sent, or what page sent them.

Pure. A web page can have a browser send requests to a server on the user's own machine, by having a
name of its own resolve to 127.0.0.1 (DNS rebinding). The browser then says so: `Host` holds that
name, and `Origin` the page's. `Origin` is checked always; `Host` by a worker that serves on loopback
or was told its names, since one that serves elsewhere is behind something that knows them.

Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning
"""

from functools import lru_cache
from http import HTTPStatus
from typing import Final

from linkspan_contract.envelope import INVALID_REQUEST
from linkspan_process.hosts import is_loopback
from linkspan_worker.failures import Refusal
from linkspan_worker.forwarded import PassedOn
from linkspan_worker.headers import HeaderValues
from linkspan_worker.pages import Pages, host_name

_MAX_HOST_CHARS: Final = 300
"""A name of 253 characters and a port; what is longer is nobody's, and is not remembered."""

_MISDIRECTED: Final = Refusal(
    HTTPStatus.MISDIRECTED_REQUEST,
    INVALID_REQUEST,
    "Misdirected request: this server does not answer to that host; see --allowed-hosts",
    "421",
)
_FORBIDDEN: Final = Refusal(
    HTTPStatus.FORBIDDEN,
    INVALID_REQUEST,
    "Forbidden: requests from this origin are not allowed; see --allowed-origins",
    "403",
)


def refuse_rebinding(
    headers: HeaderValues,
    *,
    hosts: frozenset[str] | None,
    pages: Pages,
    passed_on: PassedOn | None = None,
) -> Refusal | None:
    """Refuse a request that names another host, or comes from a web page that may not send any.

    Args:
        headers: The request's headers.
        hosts: The names that the server answers to, beside those of this machine; None for any.
        pages: The pages that may send requests.
        passed_on: What a trusted proxy says. The host that the client called by its word has to be
            the server's, too, and not instead: a page could write that header, and not `Host`.

    A missing `Origin` is a client that is no browser, and passes.
    """
    if hosts is not None:
        host = headers.get("host")
        if host is not None and (len(host) > _MAX_HOST_CHARS or not _is_ours(host, hosts)):
            return _MISDIRECTED
        if passed_on is not None and passed_on.host is not None:
            name, _ = passed_on.host
            if not (is_loopback(name) or name in hosts):
                return _MISDIRECTED
    if pages.may_use(headers.all("origin")):
        return None
    return _FORBIDDEN


@lru_cache(256)
def _is_ours(host: str, hosts: frozenset[str]) -> bool:
    """Tell whether a server answers to a `Host`; remembered, because clients send the same ones."""
    name = host_name(host)
    return is_loopback(name) or name in hosts
