"""Where a redirect may lead: which addresses a worker calls because a session server names them.

Pure. Above lie `sends`, which follows redirects, and `config`. A redirect comes from a session server,
which the worker trusts with sessions, but not with the worker's place in the network: an address that
it makes up must not be a Unix socket, a resolver of gRPC's, or something far away.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from linkspan_contract.limits import MAX_NODE_ID_BYTES

Network: TypeAlias = IPv4Network | IPv6Network

_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z._-]+)):([0-9]{1,5})")
_SOCKETS: Final = ("unix:", "unix-abstract:")
_RESOLVERS: Final = frozenset(
    ("dns", "google-c2p", "google-c2p-experimental", "ipv4", "ipv6", "vsock", "xds")
)
"""What gRPC takes for a way to find addresses, and not for a host, where it stands before a colon.

Source: https://github.com/grpc/grpc/blob/master/doc/naming.md
"""

_NAME: Final = re.compile(r"(?:\*\.)?[0-9a-z_-]+(?:\.[0-9a-z_-]+)*")
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where session servers are.

    Attributes:
        networks: The networks that their addresses are in.
        names: Their names, in lower case; one that begins with `*.` stands for all below it.
    """

    networks: tuple[Network, ...] = ()
    names: tuple[str, ...] = ()

    def __contains__(self, host: str) -> bool:
        """Tell whether a host is one of theirs; everyone is if nothing is said."""
        if not self.networks and not self.names:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return any(_is_named(host.lower(), name) for name in self.names)
        return any(address in network for network in self.networks)

    def __str__(self) -> str:
        """Write it as it is parsed."""
        return ",".join((*map(str, self.networks), *self.names)) or "anywhere"


ANYWHERE: Final = Whereabouts()
"""Where session servers are if nobody says."""


def parse_whereabouts(text: str) -> Whereabouts:
    """Take networks, addresses and names, separated by commas.

    Raises:
        ValueError: One of them is neither; the reason fits after "NAME: ".
    """
    networks: list[Network] = []
    names: list[str] = []
    for each in filter(None, (part.strip().lower() for part in text.split(","))):
        try:
            networks.append(ip_network(each))
        except ValueError:
            if _NAME.fullmatch(each) is None or each[-1:].isdigit():
                raise ValueError(
                    "must be networks such as 10.0.0.0/8, addresses, or names such as "
                    f"*.sessions.svc, separated by commas; {each!r} is none"
                ) from None
            names.append(each)
    return Whereabouts(tuple(networks), tuple(names))


def leads_to_session_server(owner: str, target: str, whereabouts: Whereabouts) -> bool:
    """Tell whether a redirect is one to follow.

    Args:
        owner: The owner that it names: an address, `#`, and which run of the server.
        target: What the worker calls by itself, as `targets.parse_target` returns it.
        whereabouts: Where session servers are.
    """
    if len(owner) > MAX_NODE_ID_BYTES or not owner.isascii():
        return False
    address = owner.rpartition("#")[0]
    if address.startswith(_SOCKETS):  # of this machine: only where its workers use them anyway
        return address.isprintable() and target.startswith(_SOCKETS)
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found[3]) <= _MAX_PORT:
        return False
    host = found[1] or found[2]
    return host.lower() not in _RESOLVERS and host in whereabouts


def _is_named(host: str, name: str) -> bool:
    return host.endswith(name[1:]) if name.startswith("*.") else host == name
