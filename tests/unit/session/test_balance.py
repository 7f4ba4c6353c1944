"""How many sessions a server lets go of: never so many that it has less than its share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan_session.balance import excess
from linkspan_session.store import NodeId, NodeLoad


def nodes(*loads: int) -> tuple[NodeLoad, ...]:
    return tuple(NodeLoad(name(each), load) for each, load in enumerate(loads))


def name(number: int) -> NodeId:
    return NodeId(f"127.0.0.1:{number}#run")


LOADS = st.lists(st.integers(0, 10_000), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("loads", "too_many"),
    [
        ((0,), 0),
        ((10_000,), 0),  # there is nobody else
        ((16, 0), 0),
        ((42, 0), 0),
        ((43, 0), 21),  # 43 > 21.5 * 1.25 + 16
        ((1000, 0), 500),
        ((1000, 1000), 0),
        ((1000, 1000, 0), 333),
        ((0, 1000), 0),
        ((100, 80, 90), 0),
    ],
)
def test_far_more_than_the_share_is_too_many(loads: tuple[int, ...], too_many: int) -> None:
    assert excess(name(0), nodes(*loads)) == too_many


def test_a_server_that_is_not_among_those_alive_lets_go_of_nothing() -> None:
    assert excess(name(9), nodes(1000, 0)) == 0
    assert excess(name(9), ()) == 0


@given(LOADS)
def test_nobody_is_left_with_less_than_its_share(loads: list[int]) -> None:
    share = sum(loads) / len(loads)
    for each, load in enumerate(loads):
        too_many = excess(name(each), nodes(*loads))
        assert 0 <= too_many <= load
        assert too_many == 0 or load - too_many >= share - 0.5


@given(LOADS)
def test_what_is_let_go_of_fits_in_below_the_shares_of_the_others(loads: list[int]) -> None:
    share = sum(loads) / len(loads)
    gone = sum(excess(name(each), nodes(*loads)) for each in range(len(loads)))
    room = sum(max(0, share - load) for load in loads)
    assert gone <= room + len(loads) / 2


@given(LOADS)
def test_what_everybody_lets_go_of_can_be_taken_without_anybody_having_too_many(
    loads: list[int],
) -> None:
    kept = [load - excess(name(each), nodes(*loads)) for each, load in enumerate(loads)]
    for _ in range(sum(loads) - sum(kept)):  # each goes to whoever has the least
        kept[kept.index(min(kept))] += 1
    assert sum(kept) == sum(loads)
    assert all(excess(name(each), nodes(*kept)) == 0 for each in range(len(kept)))


@given(LOADS)
def test_the_order_in_which_servers_are_listed_changes_nothing(loads: list[int]) -> None:
    listed = nodes(*loads)
    for each in listed:
        assert excess(each.node, listed[::-1]) == excess(each.node, listed)
