"""What happens to the sessions of this process, counted: plain numbers, whether anybody asks or not.

Owns one object, which the modules that bring such things about count in; `measuring` has it read
when metrics are collected. Counted in the event loop alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from linkspan_session.exchange import Exchange
from linkspan_session.store import SessionRecord


@dataclass(slots=True, eq=False)
class Tallies:
    """The counts.

    Attributes:
        creations: Sessions that were created.
        wakes: Sessions that were asleep and were claimed.
        take_overs: Sessions that were claimed from a server that is gone.
        sleeps: Sessions that were given back to the store.
        losses: Sessions that turned out to be another server's.
        ends: Sessions that were ended by their client or an operator.
        swept: Records that this server closed as expired, or removed.
        on_end: Called with the record of each session that was ended; None where metrics are off.
    """

    creations: int = 0
    wakes: int = 0
    take_overs: int = 0
    sleeps: int = 0
    losses: int = 0
    ends: int = 0
    swept: int = 0
    on_end: Callable[[SessionRecord], None] | None = None

    def end(self, record: SessionRecord) -> None:
        """Count a session that was ended."""
        self.ends += 1
        if self.on_end is not None:
            self.on_end(record)

    def claim(self, seen: SessionRecord) -> None:
        """Count a session that was claimed, by its record before that."""
        if seen.owner:
            self.take_overs += 1
        else:
            self.wakes += 1


tallies: Final = Tallies()
"""Those of this process."""


class OpenExchanges:
    """The exchanges that somebody reads."""

    def __init__(self) -> None:
        self._open: set[Exchange] = set()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._open)

    def add(self, exchange: Exchange) -> None:
        """Take one that is read from now on."""
        self._open.add(exchange)

    def discard(self, exchange: Exchange) -> None:
        """Take that one is read no more."""
        self._open.discard(exchange)

    def buffered_bytes(self) -> int:
        """Return how many bytes wait in all of them; for any thread."""
        return sum(each.buffered_bytes for each in tuple(self._open))


open_exchanges: Final = OpenExchanges()
"""Those of this process."""
