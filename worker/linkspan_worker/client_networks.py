"""What stands for a client's address where clients are counted by address.

Pure. Above lie `callers` and `http.places`.
"""

import ipaddress
from functools import lru_cache
from typing import Final

_REMEMBERED: Final = 1024
_PREFIX: Final = 64


@lru_cache(_REMEMBERED)
def network_of(address: str) -> str:
    """Return what stands for a client's address: itself, or the /64 of one of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), _PREFIX), strict=False).network_address)
