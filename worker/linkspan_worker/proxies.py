"""Whose word about others counts: the proxies that a worker trusts, and what of it is believed.

Pure, and light. Above lies `endpoint`; below lies `forwarded`, which reads what proxies write.
Invariants: what an untrusted peer writes changes nothing; the client is the first from the right
that is not a trusted proxy, and nothing to its left is looked at; what cannot be read, or is said in
two ways that differ, counts as not said, and then the request is the proxy's own.

Sources: RFC 7239, sections 4 and 8.1; https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import chain, islice
from typing import Final, TypeAlias

from linkspan_worker.forwarded import (
    MAX_HOPS,
    Address,
    PassedOn,
    forwarded_hops,
    nearest_first,
    parse_host,
    parse_node,
    parse_scheme,
    plain_address,
)
from linkspan_worker.headers import Headers

Values: TypeAlias = tuple[str, ...]
"""The values of a header, in the order in which they came."""

_FIELDS: Final = ("forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host")

_REMEMBERED: Final = 1024
_REMEMBERED_CHARS: Final = 512
_NOTHING: Final = PassedOn()


class TrustedProxies:
    """The networks whose proxies are believed."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Make it.

        Args:
            networks: As `parse_networks` returns them.
        """
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(map(ip_network, networks))
        self._trusts = lru_cache(_REMEMBERED)(self._is_in_networks)
        self._remembered = lru_cache(_REMEMBERED)(self._read)

    def trusts(self, address: str) -> bool:
        """Tell whether a proxy of ours has this IP address."""
        return self._trusts(address)

    def read(self, peer: str, headers: Headers) -> PassedOn | None:
        """Read for whom a request was passed on; None if nobody says, or nobody who is believed.

        Args:
            peer: The IP address at the other end of the connection.
            headers: The request's headers.
        """
        if not self.trusts(peer):
            return None
        fields = tuple(tuple(headers.all(name)) for name in _FIELDS)
        chars = sum(map(len, chain.from_iterable(fields)))
        if not chars:
            return None
        # The same ones come with each request of a client; long ones are no client's of good will.
        return self._remembered(fields) if chars <= _REMEMBERED_CHARS else self._read(fields)

    def _read(self, fields: tuple[Values, ...]) -> PassedOn | None:
        standard, *usual = fields
        if not any(usual):
            said = self._by_standard(standard)
        elif not standard:
            said = self._by_usual(*usual)
        else:
            said = _agreed(self._by_standard(standard), self._by_usual(*usual))
        return None if said == _NOTHING else said

    def _by_standard(self, fields: Values) -> PassedOn:
        client: Address | None = None
        scheme, host = "", None
        for hop in islice(forwarded_hops(fields), MAX_HOPS):
            # The farther hop was written by a proxy nearer to the client, which is trusted, too.
            scheme, host = hop.scheme or scheme, hop.host or host
            if hop.client is None:
                break
            client = hop.client
            if not self.trusts(client[0]):
                break
        return PassedOn(client, scheme, host)

    def _by_usual(self, clients: Values, schemes: Values, hosts: Values) -> PassedOn:
        client: Address | None = None
        hops = 0
        for value in nearest_first(clients) if clients else ():
            hops += 1
            node = parse_node(value)
            if node is None:
                break
            client = node
            if not self.trusts(client[0]):
                break
        return PassedOn(
            client,
            parse_scheme(_at_hop(schemes, hops)),
            parse_host(_at_hop(hosts, hops)),
        )

    def _is_in_networks(self, address: str) -> bool:
        plain = plain_address(address)
        if plain is None:
            return False
        parsed = ip_address(plain)
        return any(parsed in network for network in self._networks)


def parse_networks(text: str) -> frozenset[str]:
    """Take networks separated by commas: `10.0.0.0/8`, or one address.

    Raises:
        ValueError: One is no network.
    """
    networks: set[str] = set()
    for word in filter(None, (word.strip() for word in text.split(","))):
        try:
            networks.add(str(ip_network(word)))
        except ValueError:
            raise ValueError(
                "must be networks such as 10.0.0.0/8 or fd00::/8, or addresses, not "
                f"{word!r}{_hint(word)}"
            ) from None
    return frozenset(networks)


def _hint(word: str) -> str:
    """Say which network an address with a length of prefix is in; nothing for all else."""
    try:
        network = ip_network(word, strict=False)
    except ValueError:
        return ""
    return f", which has bits set behind its prefix; the network is {network}"


def _at_hop(fields: Values, hops: int) -> str:
    """Pick the value that was written where the client's address was, in a list of its own.

    Some proxies append to each list, some write one value over what there was: then it is that.
    """
    values = nearest_first(fields) if fields else []
    return values[min(max(hops, 1), len(values)) - 1] if values else ""


def _agreed(one: PassedOn, other: PassedOn) -> PassedOn:
    """Put together what both kinds of header say; where they differ, neither is believed.

    A proxy that writes one kind may let the other through as its client sent it, and nobody can
    see which is which.
    """
    clients = {client[0] if client else None for client in (one.client, other.client)}
    schemes = {one.scheme, other.scheme} - {""}
    hosts = {host for host in (one.host, other.host) if host is not None}
    if len(clients) > 1 or len(schemes) > 1 or len(hosts) > 1:
        return _NOTHING
    return PassedOn(one.client or other.client, one.scheme or other.scheme, one.host or other.host)
