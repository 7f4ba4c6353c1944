"""How many connections each address holds, so that one cannot hold all there may be.

Above lies `connection`, which takes a place as it begins and gives it back as it ends. What counts is
who is at the other end of the connection, whatever it says of others: trusted proxies hold as many as
they like. Invariant: an address without connections takes no room.
"""

from collections.abc import Callable
from typing import Final

from linkspan_worker.client_networks import network_of


class Places:
    """The connections of each address, or for IPv6 of each /64, which one customer has whole."""

    __slots__ = ("_held", "_is_free", "_most", "_owners")

    def __init__(self, most: int, is_free: Callable[[str], bool] = lambda _: False) -> None:
        """Begin with none.

        Args:
            most: How many an address may hold at once.
            is_free: Tells of an IP address whether it may hold as many as it likes.
        """
        self._most: Final = most
        self._is_free: Final = is_free
        self._held: dict[str, int] = {}
        self._owners: dict[object, str] = {}

    def __len__(self) -> int:
        """How many addresses hold any."""
        return len(self._held)

    def take(self, connection: object, address: str) -> bool:
        """Take a place for a connection; tells whether there was one.

        Args:
            connection: The connection, which has none yet.
            address: The IP address at its other end.
        """
        if self._is_free(address):
            return True
        network = network_of(address)
        held = self._held.get(network, 0)
        if held >= self._most:
            return False
        self._held[network] = held + 1
        self._owners[connection] = network
        return True

    def give_back(self, connection: object) -> None:
        """Give back the place of a connection, if it has taken one."""
        network = self._owners.pop(connection, None)
        if network is None:
            return
        left = self._held[network] - 1
        if left:
            self._held[network] = left
        else:
            del self._held[network]
