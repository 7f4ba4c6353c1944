"""How many files and connections the process may have open: as many as it is allowed to ask for."""

import resource
from typing import Final

_OTHERS: Final = 256
"""Descriptors that are no connection of a client: files, calls to other services, what runs beside."""


def room_for(connections: int) -> int:
    """Have the process allowed that many connections, as far as it may allow itself that.

    The usual limit, 1024, is there for programs that use `select`, which this one does not; without
    this, the one connection too many would keep the process from opening a file.

    Returns:
        How many connections there is room for.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return connections
    return max(min(connections, soft - _OTHERS), 1)
