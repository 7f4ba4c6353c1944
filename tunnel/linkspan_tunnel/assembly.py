"""The room for messages that are larger than their calls' windows, of a whole tunnel.

Above lie both tunnels; below lies `inbound`. Invariant: what is granted beyond windows is never more
than the room, or one message if that is more; whoever asked first gets it first.
"""

from collections.abc import Callable

from linkspan_tunnel.inbound import Inbound


class Assembly:
    """The room for the parts of messages that go beyond their calls' windows, of a whole tunnel.

    First come, first served. A message that is larger than all the room gets it if nobody else has
    any.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity = capacity_bytes
        self._used = 0
        self._shares: dict[int, int] = {}
        self._waiting: dict[int, int] = {}

    def ask(self, call_id: int, size_bytes: int) -> bool:
        """Tell whether there is room; if not, `give_back` will tell."""
        if call_id in self._waiting:
            return False
        share = min(size_bytes, self._capacity)
        if self._waiting or self._used + share > self._capacity:
            self._waiting[call_id] = size_bytes
            return False
        self._used += share
        self._shares[call_id] = share
        return True

    def give_back(self, call_id: int) -> list[int]:
        """Take back what a call had or waited for; return the calls that have room now."""
        self._waiting.pop(call_id, None)
        self._used -= self._shares.pop(call_id, 0)
        served: list[int] = []
        for waiting, size_bytes in self._waiting.items():
            share = min(size_bytes, self._capacity)
            if self._used + share > self._capacity:
                break
            self._used += share
            self._shares[waiting] = share
            served.append(waiting)
        for waiting in served:
            del self._waiting[waiting]
        return served


class Intake:
    """What a tunnel takes in: grants what calls may send more."""

    def __init__(self, capacity_bytes: int, grant: Callable[[int, int], None]) -> None:
        """Begin.

        Args:
            capacity_bytes: How much room there is beyond the windows.
            grant: Tells the peer that a call, by its id, may send so many bytes more.
        """
        self._assembly = Assembly(capacity_bytes)
        self._grant = grant
        self._asked: dict[int, Inbound] = {}

    def want(self, call_id: int, inbound: Inbound) -> None:
        """Note that somebody waits for the next message of a call, and a piece may be there."""
        size_bytes = inbound.wanted_bytes()
        if size_bytes == 0:
            return
        inbound.asked = True
        self._asked[call_id] = inbound
        if self._assembly.ask(call_id, size_bytes):
            self._reserve(call_id)

    def pop(self, call_id: int, inbound: Inbound) -> bytes:
        """Return the next message of a call; there must be one."""
        data = inbound.pop()
        if inbound.asked:
            self.forget(call_id, inbound)
        due_bytes = inbound.due_bytes()
        if due_bytes:
            self._grant(call_id, due_bytes)
        return data

    def forget(self, call_id: int, inbound: Inbound) -> None:
        """Take back the room that a call has."""
        if not inbound.asked:
            return
        inbound.asked = False
        self._asked.pop(call_id, None)
        for served in self._assembly.give_back(call_id):
            self._reserve(served)

    def _reserve(self, call_id: int) -> None:
        inbound = self._asked.get(call_id)
        if inbound is not None:
            size_bytes = inbound.reserve()
            if size_bytes:
                self._grant(call_id, size_bytes)
