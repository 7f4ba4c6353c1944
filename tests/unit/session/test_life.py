"""The life of a session: every state with every event, and what a record says of it."""

import pytest

from linkspan_session.errors import SessionEndedError, SessionError, SessionExpiredError
from linkspan_session.life import TRANSITIONS, Event, Outcome, State, state_of, step
from linkspan_session.store import (
    NOBODY,
    Closed,
    Found,
    Handshake,
    NodeId,
    Principal,
    SessionId,
    SessionRecord,
)

TABLE: dict[State, dict[Event, Outcome | None]] = {
    State.CREATED: {
        Event.INITIALIZED: State.LIVE,
        Event.USED: State.CREATED,
        Event.LEFT_ALONE: State.CREATED,
        Event.ENDED: State.ENDED,
        Event.EXPIRED: State.EXPIRED,
    },
    State.LIVE: {
        Event.INITIALIZED: None,
        Event.USED: State.LIVE,
        Event.LEFT_ALONE: State.ASLEEP,
        Event.ENDED: State.ENDED,
        Event.EXPIRED: State.EXPIRED,
    },
    State.ASLEEP: {
        Event.INITIALIZED: None,
        Event.USED: State.LIVE,
        Event.LEFT_ALONE: State.ASLEEP,
        Event.ENDED: State.ENDED,
        Event.EXPIRED: State.EXPIRED,
    },
    State.ENDED: {
        Event.INITIALIZED: None,
        Event.USED: SessionEndedError,
        Event.LEFT_ALONE: None,
        Event.ENDED: SessionEndedError,
        Event.EXPIRED: None,
    },
    State.EXPIRED: {
        Event.INITIALIZED: None,
        Event.USED: SessionExpiredError,
        Event.LEFT_ALONE: None,
        Event.ENDED: SessionExpiredError,
        Event.EXPIRED: None,
    },
}
"""What comes of each; None for what cannot happen."""


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_event_has_its_outcome_in_every_state(state: State, event: Event) -> None:
    match TABLE[state][event]:
        case State() as after:
            assert step(state, event) is after
        case None:
            with pytest.raises(KeyError):
                step(state, event)
        case refusal:
            with pytest.raises(SessionError) as refused:
                step(state, event)
            assert type(refused.value) is refusal


def test_the_table_holds_nothing_else_and_cannot_be_written_to() -> None:
    listed = {
        (state, event): outcome
        for state, row in TABLE.items()
        for event, outcome in row.items()
        if outcome is not None
    }
    assert dict(TRANSITIONS) == listed
    with pytest.raises(TypeError):
        TRANSITIONS[State.ENDED, Event.EXPIRED] = State.LIVE  # type: ignore[index]  # pyright: ignore[reportIndexIssue]


def test_what_has_come_to_its_end_never_comes_back() -> None:
    for (state, _), outcome in TRANSITIONS.items():
        if state in (State.ENDED, State.EXPIRED):
            assert not isinstance(outcome, State)


# --- read off the record -------------------------------------------------------------------------

EXPIRES = 1000
HELLO = Handshake("2025-06-18", "{}", initialized=True)


def found(handshake: Handshake | None, closed: Closed | None, *, alive: bool) -> Found:
    record = SessionRecord(
        session_id=SessionId("s"),
        principal=Principal(),
        handshake=handshake,
        created_millis=0,
        last_active_millis=0,
        expires_millis=EXPIRES,
        owner=NodeId("127.0.0.1:1#a") if alive else NOBODY,
        closed=closed,
    )
    return Found(record, owner_alive=alive)


@pytest.mark.parametrize("handshake", [None, HELLO], ids=["no handshake", "handshake"])
@pytest.mark.parametrize("alive", [True, False], ids=["owned", "not owned"])
@pytest.mark.parametrize("now", [0, EXPIRES - 1, EXPIRES, EXPIRES + 1])
def test_the_state_is_read_off_the_record(
    handshake: Handshake | None, alive: bool, now: int
) -> None:
    assert state_of(found(handshake, Closed.ENDED, alive=alive), now) is State.ENDED
    assert state_of(found(handshake, Closed.EXPIRED, alive=alive), now) is State.EXPIRED
    if now >= EXPIRES and not alive:
        wanted = State.EXPIRED
    elif handshake is None:
        wanted = State.CREATED
    else:
        wanted = State.LIVE if alive else State.ASLEEP
    assert state_of(found(handshake, None, alive=alive), now) is wanted
