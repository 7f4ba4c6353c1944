"""Who may have a session in memory: every row of the table in `ownership`."""

import pytest

from linkspan_session.ownership import Move, Probed, decide
from linkspan_session.store import NOBODY, Found, NodeId, Principal, SessionId, SessionRecord

ME = NodeId("127.0.0.1:1#me")
OTHER = NodeId("127.0.0.1:2#other")
THIRD = NodeId("127.0.0.1:3#third")
ANY_PROBE = [None, *Probed]


def found(owner: NodeId, *, alive: bool) -> Found:
    record = SessionRecord(
        session_id=SessionId("s"),
        principal=Principal(),
        handshake=None,
        created_millis=0,
        last_active_millis=0,
        expires_millis=1,
        owner=owner,
    )
    return Found(record, owner_alive=alive)


@pytest.mark.parametrize("probed", ANY_PROBE)
@pytest.mark.parametrize("unreachable", ["", ME, OTHER, THIRD])
@pytest.mark.parametrize(
    ("owner", "alive"), [(NOBODY, False), (OTHER, False), (ME, True), (ME, False)]
)
def test_what_nobody_else_can_have_in_memory_is_claimed(
    owner: NodeId, alive: bool, unreachable: str, probed: Probed | None
) -> None:
    move = decide(found(owner, alive=alive), ME, unreachable_owner=unreachable, probed=probed)
    assert move is Move.CLAIM


@pytest.mark.parametrize("probed", ANY_PROBE)
@pytest.mark.parametrize("unreachable", ["", ME, THIRD, "127.0.0.1:2#another run"])
def test_a_caller_that_has_not_tried_the_owner_is_sent_there(
    unreachable: str, probed: Probed | None
) -> None:
    move = decide(found(OTHER, alive=True), ME, unreachable_owner=unreachable, probed=probed)
    assert move is Move.REDIRECT


@pytest.mark.parametrize(
    ("probed", "move"),
    [
        (None, Move.PROBE),
        (Probed.REFUSES, Move.CLAIM),
        (Probed.SILENT, Move.WAIT),
        (Probed.ANSWERS, Move.REDIRECT),
    ],
)
def test_an_owner_that_the_caller_could_not_reach_is_looked_at_first(
    probed: Probed | None, move: Move
) -> None:
    assert decide(found(OTHER, alive=True), ME, unreachable_owner=OTHER, probed=probed) is move
