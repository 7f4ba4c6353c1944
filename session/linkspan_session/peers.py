"""Who is at the other end of a connection, in words for the audit trail and the log.

Above lie `auditing` and `server_shells`. Pure: told what gRPC says of a connection.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final, Protocol
from urllib.parse import unquote

_NAMES: Final = ("x509_subject_alternative_name", "x509_common_name")
"""gRPC's names for what a certificate calls its holder; see its `grpc_security_constants.h`."""


class Connected(Protocol):
    """A call, as far as it tells who makes it."""

    def peer(self) -> str:
        """Return gRPC's name of the other end."""
        ...

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return what the other end proved, by kind; nothing without TLS."""
        ...


def address_of_peer(peer: str) -> str:
    """Return the address in gRPC's name of the other end.

    Args:
        peer: Such as `ipv4:127.0.0.1:58262`, `ipv6:%5B::1%5D:58262` or `unix:`.

    Returns:
        The address without the port, as a worker tells those of clients; `unix` for a socket; what is
        neither, as it is.
    """
    kind, _, where = peer.partition(":")
    if kind == "unix":
        return kind
    host = unquote(where).rpartition(":")[0].strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return peer
    return host


def name_of_peer(proved: Mapping[str, Iterable[bytes]]) -> str:
    """Return what a certificate calls its holder: its first alternative name, else its common name.

    Args:
        proved: What gRPC tells of a connection, by kind.

    Returns:
        The name; empty if there is none, or no certificate.
    """
    for kind in _NAMES:
        for name in proved.get(kind, ()):
            return name.decode("utf-8", "replace")
    return ""


def told_of(call: Connected) -> dict[str, str]:
    """Return what the audit trail says of who makes a call; what is not known is empty."""
    return {
        "client_address": address_of_peer(call.peer()),
        "peer_name": name_of_peer(call.auth_context()),
    }
