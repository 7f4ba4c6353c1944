"""What an operator is told about a session. Pure."""

from dataclasses import dataclass

from linkspan_session.life import State
from linkspan_session.store import SessionRecord


@dataclass(frozen=True, slots=True)
class Overview:
    """A session, seen from outside.

    Attributes:
        record: What is on record.
        state: Where in its life it is.
        owner_alive: Whether the owner on record is alive.
        in_flight: How many of its requests run on the session server that answers.
        owned_here: Whether the session server that answers is the owner on record.
        stored_bytes: What it takes in the store, in bytes of events and of storage.
    """

    record: SessionRecord
    state: State
    owner_alive: bool
    in_flight: int
    owned_here: bool
    stored_bytes: int
