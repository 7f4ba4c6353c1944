"""The table of what follows from a failed call, and how often and how long it is tried again."""

import grpc
import pytest

from linkspan.session.v1.session_service_pb2 import ErrorReason
from linkspan_contract.status import CODE_OF_REASON, Failure
from linkspan_worker.attempts import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    MAX_BEGUN,
    STORE_SECONDS,
    Attempts,
)

OWNER = "10.0.0.1:50051#boot"
OTHER = "10.0.0.2:50051#boot"
RETRY_FOR = 5.0

BROKE = Failure(grpc.StatusCode.UNAVAILABLE, ErrorReason.ERROR_REASON_UNSPECIFIED, "Socket closed")
CANCELLED = Failure(grpc.StatusCode.CANCELLED, ErrorReason.ERROR_REASON_UNSPECIFIED, "")

TRIED_AGAIN = {
    ErrorReason.ERROR_REASON_SESSION_ELSEWHERE,
    ErrorReason.ERROR_REASON_DRAINING,
    ErrorReason.ERROR_REASON_OVERLOADED,
    ErrorReason.ERROR_REASON_RECORD_TOO_NEW,
    ErrorReason.ERROR_REASON_OWNER_UNREACHABLE,
    ErrorReason.ERROR_REASON_STORE_UNAVAILABLE,
    ErrorReason.ERROR_REASON_SESSION_MOVED,
}


def refusal(reason: ErrorReason.ValueType, owner: str = "") -> Failure:
    return Failure(CODE_OF_REASON[reason], reason, "words", owner=owner)


ELSEWHERE = refusal(ErrorReason.ERROR_REASON_SESSION_ELSEWHERE, OWNER)
DRAINING = refusal(ErrorReason.ERROR_REASON_DRAINING)
UNREACHABLE = refusal(ErrorReason.ERROR_REASON_OWNER_UNREACHABLE)
STORE_AWAY = refusal(ErrorReason.ERROR_REASON_STORE_UNAVAILABLE)
MOVED = refusal(ErrorReason.ERROR_REASON_SESSION_MOVED)


def attempts(owner: str = "", *, counts: bool = True) -> Attempts:
    return Attempts(owner, retry_for_seconds=RETRY_FOR, counts=counts)


def after(
    state: Attempts, failure: Failure, *, never_sent: bool = False, now: float = 0.0
) -> float | None:
    return state.after(failure, never_sent=never_sent, now=now, spread=1.0)


@pytest.mark.parametrize("reason", CODE_OF_REASON, ids=ErrorReason.Name)
def test_a_failure_is_final_unless_its_row_says_that_trying_again_helps(
    reason: ErrorReason.ValueType,
) -> None:
    pause = after(attempts(), refusal(reason))
    assert (pause is not None) == (reason in TRIED_AGAIN)


@pytest.mark.parametrize("code", list(grpc.StatusCode), ids=lambda code: code.name)
def test_a_code_without_a_reason_is_final_unless_it_means_that_the_connection_broke(
    code: grpc.StatusCode,
) -> None:
    pause = after(attempts(), Failure(code, ErrorReason.ERROR_REASON_UNSPECIFIED, ""))
    broke = code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert (pause is not None) == broke


@pytest.mark.parametrize("reason", sorted(TRIED_AGAIN), ids=ErrorReason.Name)
def test_only_a_session_that_moved_during_a_call_says_that_the_call_may_have_begun(
    reason: ErrorReason.ValueType,
) -> None:
    state = attempts()
    after(state, refusal(reason))
    moved = ErrorReason.ERROR_REASON_SESSION_MOVED
    assert state.begun_before == (1 if reason == moved else 0)


@pytest.mark.parametrize("failure", [BROKE, CANCELLED], ids=["broke", "cancelled"])
def test_a_connection_that_broke_may_have_begun_it_and_any_server_is_asked(
    failure: Failure,
) -> None:
    state = attempts()
    assert after(state, failure) == FIRST_PAUSE_SECONDS
    assert (state.begun_before, state.placed, state.unreachable_owner) == (1, False, "")


def test_an_owner_whose_connection_broke_is_named_to_whoever_is_placed() -> None:
    state = attempts(OWNER)
    after(state, BROKE)
    assert (state.begun_before, state.owner, state.unreachable_owner) == (1, "", OWNER)
    assert state.placed


def test_a_call_that_no_server_was_picked_for_has_not_begun() -> None:
    placed, owned = attempts(), attempts(OWNER)
    assert after(placed, BROKE, never_sent=True) == FIRST_PAUSE_SECONDS
    assert (placed.begun_before, placed.placed, placed.unreachable_owner) == (0, True, "")
    assert after(owned, BROKE, never_sent=True) == FIRST_PAUSE_SECONDS
    assert (owned.begun_before, owned.owner, owned.unreachable_owner) == (0, "", OWNER)


def test_a_redirect_is_followed_at_once_the_first_time_only() -> None:
    state = attempts()
    pauses: list[float | None] = []
    for _ in range(3):
        pauses.append(after(state, ELSEWHERE))
        assert state.owner == OWNER
    assert pauses == [0.0, FIRST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2]
    assert state.begun_before == 0


def test_an_owner_out_of_reach_is_named_until_a_redirect_names_one_again() -> None:
    state = attempts(OWNER)
    state.unreachable()
    assert (state.owner, state.unreachable_owner, state.begun_before) == ("", OWNER, 0)
    after(state, UNREACHABLE)
    assert state.unreachable_owner == OWNER
    after(state, refusal(ErrorReason.ERROR_REASON_SESSION_ELSEWHERE, OTHER))
    assert (state.owner, state.unreachable_owner) == (OTHER, "")


def test_a_redirect_to_nobody_goes_to_any_server() -> None:
    owned, placed = attempts(OWNER), attempts()
    nobody = refusal(ErrorReason.ERROR_REASON_SESSION_ELSEWHERE)
    after(owned, nobody)
    assert (owned.owner, owned.unreachable_owner, owned.placed) == ("", "", True)
    after(placed, nobody)
    assert not placed.placed, "the one that is placed has just refused"


@pytest.mark.parametrize(
    ("failure", "placed"),
    [
        (DRAINING, False),
        (refusal(ErrorReason.ERROR_REASON_OVERLOADED), False),
        (UNREACHABLE, True),
        (STORE_AWAY, True),
        (MOVED, True),
    ],
    ids=["draining", "overloaded", "owner-unreachable", "store", "moved"],
)
def test_a_server_that_would_refuse_again_is_not_the_one_that_is_asked_again(
    failure: Failure, *, placed: bool
) -> None:
    state = attempts()
    after(state, failure)
    assert (state.owner, state.placed) == ("", placed)
    owned = attempts(OWNER)
    after(owned, failure)
    assert (owned.owner, owned.placed) == ("", True)
    assert owned.unreachable_owner == ""


def test_pauses_double_up_to_a_bound_and_are_spread() -> None:
    state = attempts()
    pauses = [after(state, DRAINING) for _ in range(7)]
    expected = [min(FIRST_PAUSE_SECONDS * 2**n, LONGEST_PAUSE_SECONDS) for n in range(7)]
    assert pauses == expected
    spread = attempts().after(DRAINING, never_sent=False, now=0.0, spread=0.5)
    assert spread == FIRST_PAUSE_SECONDS / 2


def test_what_fails_for_the_whole_window_is_given_up() -> None:
    state = attempts()
    assert after(state, DRAINING, now=100.0) is not None
    assert after(state, DRAINING, now=100.0 + RETRY_FOR - 0.01) is not None
    assert after(state, DRAINING, now=100.0 + RETRY_FOR) is None


def test_a_store_is_not_waited_for_for_the_whole_window() -> None:
    state = attempts()
    assert after(state, STORE_AWAY, now=100.0) is not None
    assert after(state, STORE_AWAY, now=100.0 + STORE_SECONDS - 0.01) is not None
    assert after(state, STORE_AWAY, now=100.0 + STORE_SECONDS) is None


def test_a_success_begins_a_new_window_and_forgets_no_doubt() -> None:
    state = attempts()
    after(state, BROKE, now=0.0)
    state.succeeded()
    assert state.placed
    assert after(state, DRAINING, now=1000.0) == FIRST_PAUSE_SECONDS
    assert state.begun_before == 1


def test_a_request_that_may_break_servers_is_begun_so_often_and_no_more() -> None:
    state = attempts()
    pauses: list[float | None] = []
    for _ in range(MAX_BEGUN):
        state.succeeded()
        pauses.append(after(state, BROKE))
    assert None not in pauses[:-1]
    assert pauses[-1] is None


def test_what_can_be_made_as_often_as_one_likes_is_not_counted() -> None:
    state = attempts(counts=False)
    for _ in range(MAX_BEGUN + 2):
        assert after(state, BROKE) is not None
    assert state.begun_before == 0
    assert state.verdict(DRAINING) is DRAINING


def test_the_client_is_not_told_that_nothing_was_begun_if_an_earlier_send_may_have() -> None:
    state = attempts()
    assert state.verdict(DRAINING) is DRAINING
    after(state, BROKE)
    after(state, UNREACHABLE)
    assert state.verdict(UNREACHABLE) is BROKE
    invalid = refusal(ErrorReason.ERROR_REASON_INVALID_REQUEST)
    assert state.verdict(invalid) is invalid
    assert state.verdict(MOVED) is MOVED


def test_sends_are_counted() -> None:
    state = attempts()
    assert state.sends == 1
    after(state, ELSEWHERE)
    after(state, DRAINING)
    assert state.sends == 3
