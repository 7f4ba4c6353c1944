"""Which web pages may talk to the backend: its own, and no others. Pure.

A page elsewhere can have a name of its own resolve to 127.0.0.1 (DNS rebinding), and then read what
it likes. The browser says so: `Host` holds that name, and `Origin` the page's. No CORS header is
ever sent, so a page under another origin reads nothing, and what it sends is refused.
"""

from urllib.parse import urlsplit

from linkspan_process.hosts import is_loopback


def refusal(host: str | None, origin: str | None) -> str:
    """Say why a request is refused; empty if it is not.

    Args:
        host: The `Host` header; None if there is none.
        origin: The `Origin` header; None from a client that is no browser, and for most GETs.
    """
    if host is None or not is_loopback(_hostname(f"//{host}")):
        return "this server answers to localhost only"
    if origin is not None and origin != f"http://{host}":
        return "requests from other pages are not taken"
    return ""


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # such as an unclosed bracket
        return None
