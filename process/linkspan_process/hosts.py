"""Which hosts are this machine alone."""

import ipaddress


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine: `localhost`, or an address of the loopback range."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host.lower() == "localhost"
