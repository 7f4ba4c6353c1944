"""Which hosts are this machine alone."""

import ipaddress

from linkspan_process.unix_sockets import is_unix


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine: `localhost`, or an address of the loopback range."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host.lower() == "localhost"


def is_local(host: str) -> bool:
    """Tell whether only this machine reaches what is served there: loopback, or a Unix socket."""
    return is_unix(host) or is_loopback(host)
