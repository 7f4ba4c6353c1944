"""The life of a session: its states, what may happen to it, and what comes of that. One table.

Pure. The state of a session is not stored; it is read off its record and the lease of its owner, so
that nothing has to be written when a session server dies: its sessions are asleep from then on.

    CREATED ──initialized──▶ LIVE ◀──used──▶ ASLEEP      left memory, or lost its server
       └────────────┬──────────┴───────┬───────┘
                  ended             expired
                    ▼                  ▼
                  ENDED             EXPIRED              kept for a while, to say so
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from linkspan_session.errors import SessionEndedError, SessionError, SessionExpiredError
from linkspan_session.store import Closed, Found

KEEP_CLOSED_MILLIS: Final = 24 * 3600 * 1000
"""How long the record of a session that ended or expired is kept, in milliseconds."""

MAX_CREATED_MILLIS: Final = 5 * 60 * 1000
"""How long a session may wait for its `initialize`, in milliseconds."""


class State(StrEnum):
    """Where in its life a session is."""

    CREATED = "created"
    """There is a record; `initialize` has not been answered."""
    LIVE = "live"
    """A session server has it in memory."""
    ASLEEP = "asleep"
    """It is a record and nothing else."""
    ENDED = "ended"
    """Its client, or an operator, ended it."""
    EXPIRED = "expired"
    """It was not used for too long, or its lifetime was over."""


class Event(StrEnum):
    """What happens to a session."""

    INITIALIZED = "initialized"
    """`initialize` was answered with a result."""
    USED = "used"
    """A message came for it, or a stream of it was opened."""
    LEFT_ALONE = "left alone"
    """It was idle for too long to stay in memory, its server is shutting down, or has died."""
    ENDED = "ended"
    """Its client sent DELETE, an operator ended it, or its `initialize` failed."""
    EXPIRED = "expired"
    """Its time was over."""


Outcome: TypeAlias = State | type[SessionError]

TRANSITIONS: Final[Mapping[tuple[State, Event], Outcome]] = MappingProxyType(
    {
        (State.CREATED, Event.INITIALIZED): State.LIVE,
        (State.CREATED, Event.USED): State.CREATED,
        (State.CREATED, Event.LEFT_ALONE): State.CREATED,
        (State.CREATED, Event.ENDED): State.ENDED,
        (State.CREATED, Event.EXPIRED): State.EXPIRED,
        (State.LIVE, Event.USED): State.LIVE,
        (State.LIVE, Event.LEFT_ALONE): State.ASLEEP,
        (State.LIVE, Event.ENDED): State.ENDED,
        (State.LIVE, Event.EXPIRED): State.EXPIRED,
        (State.ASLEEP, Event.USED): State.LIVE,
        (State.ASLEEP, Event.LEFT_ALONE): State.ASLEEP,
        (State.ASLEEP, Event.ENDED): State.ENDED,
        (State.ASLEEP, Event.EXPIRED): State.EXPIRED,
        (State.ENDED, Event.USED): SessionEndedError,
        (State.ENDED, Event.ENDED): SessionEndedError,
        (State.EXPIRED, Event.USED): SessionExpiredError,
        (State.EXPIRED, Event.ENDED): SessionExpiredError,
    }
)
"""What comes of an event: the next state, or the refusal. What is not listed cannot happen."""


def step(state: State, event: Event) -> State:
    """Return the state after an event.

    Raises:
        SessionError: The event is refused in this state; which one says why.
        KeyError: The event cannot happen in this state.
    """
    outcome = TRANSITIONS[state, event]
    if isinstance(outcome, State):
        return outcome
    raise outcome


def state_of(found: Found, now_millis: int) -> State:
    """Read a session's state off its record.

    Args:
        found: The record, and whether its owner is alive.
        now_millis: The time, in milliseconds since the Unix epoch.
    """
    record = found.record
    if record.closed is Closed.ENDED:
        return State.ENDED
    if record.closed is Closed.EXPIRED:
        return State.EXPIRED
    if now_millis >= record.expires_millis and not found.owner_alive:
        return State.EXPIRED
    if record.handshake is None:
        return State.CREATED
    return State.LIVE if found.owner_alive else State.ASLEEP
