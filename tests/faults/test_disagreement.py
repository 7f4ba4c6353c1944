"""Two workers that disagree about who has a session: each knows one session server, not the same."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from tests.faults.stores import KINDS, store_of
from tests.requirements import requirement
from tests.support.apps import APPS
from tests.support.fleet import Fleet, check_one_owner, running_fleet
from tests.support.peer import Peer, notification, peer_of, request, session_at

from linkspan_propagation.testing import OtlpReceiver, assert_one_trace, traces

WAITING: Final = str(APPS / "net_waiting.py") + ":mcp"


@contextmanager
def two_workers(
    store: str, receiver: OtlpReceiver | None = None
) -> Generator[tuple[Fleet, str, str]]:
    """Run two servers and a worker for each; gives the workers' addresses."""
    with running_fleet(store, servers=2, app=WAITING, receiver=receiver) as fleet:
        first, second = (fleet.add_worker(targets=each.address) for each in fleet.servers)
        yield fleet, first, second
        check_one_owner(fleet.commits())


def add_some(peer: Peer, times: int) -> list[int]:
    """Add one so many times, one after another; return what was answered."""
    answers = [peer.call("add_one") for _ in range(times)]
    assert [answer.status for answer in answers] == [200] * times, answers
    return [answer.result["structuredContent"]["result"] for answer in answers]


def owners(fleet: Fleet) -> set[tuple[str, int, str]]:
    """Return who has ever owned which session, and in which epoch."""
    return {(each.session, each.epoch, each.owner) for each in fleet.commits()}


@requirement("session.redirect")
@pytest.mark.parametrize("kind", KINDS)
def test_a_session_used_through_both_in_turn_and_at_once_has_one_owner_and_every_write(
    tmp_path: Path, kind: str
) -> None:
    with (
        OtlpReceiver() as receiver,
        store_of(kind, tmp_path) as store,
        two_workers(store, receiver) as (fleet, first, second),
        session_at(first) as one,
        peer_of(second, session_id=one.session_id) as other,
    ):
        in_turn = [count for _ in range(5) for peer in (one, other) for count in add_some(peer, 1)]
        assert in_turn == list(range(1, 11))
        with ThreadPoolExecutor(2) as threads:
            at_once = list(threads.map(partial(add_some, times=40), (one, other)))
        assert sorted(at_once[0] + at_once[1]) == list(range(11, 91))
        assert one.call("counts").result == other.call("counts").result
        assert len(owners(fleet)) == 1
        for process in [*fleet.workers, *(each.process for each in fleet.servers)]:
            assert process.stop() == 0, process.errors
        spans = receiver.spans()
        for of_one in traces(spans).values():
            assert_one_trace(of_one)
        # Whoever was sent to the owner goes there by itself from then on.
        resends = [event for span in spans for event in span.events if "resend" in event.name]
        assert [event.attributes["reason"] for event in resends] == ["SESSION_ELSEWHERE"]


def test_a_handshake_that_is_split_between_both_makes_one_session(tmp_path: Path) -> None:
    with (
        two_workers(f"sqlite:///{tmp_path / 'sessions.db'}") as (fleet, first, second),
        peer_of(first) as one,
    ):
        opening = one.post(request("initialize", INITIALIZE))
        session_id = opening.headers["mcp-session-id"]
        with peer_of(second, session_id=session_id) as other:
            assert other.post(notification("notifications/initialized")).status == 202
            assert add_some(other, 1) == [1]
            assert other.end().status in {200, 204}
        with peer_of(first, session_id=session_id) as late:
            gone = late.call("add_one")
        assert gone.status == 404
        assert "it was ended" in gone.error["message"]
        assert len(owners(fleet)) == 1


def test_many_sessions_begun_at_either_are_used_through_the_other(tmp_path: Path) -> None:
    with two_workers(f"sqlite:///{tmp_path / 'sessions.db'}") as (fleet, first, second):

        def use(number: int) -> list[int]:
            here, there = (first, second) if number % 2 else (second, first)
            with session_at(here) as one, peer_of(there, session_id=one.session_id) as other:
                return [*add_some(other, 2), *add_some(one, 2), *add_some(other, 1)]

        with ThreadPoolExecutor(6) as threads:
            assert list(threads.map(use, range(12))) == [[1, 2, 3, 4, 5]] * 12
        assert len(owners(fleet)) == 12


INITIALIZE: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "split", "version": "1"},
}
