"""Wall clocks that jump, and that disagree: sessions, leases and tasks go on.

The hosted server sets the clock of its own process; see `tests/apps/clock_shifting.py`.
"""

import asyncio
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from tests.faults.stores import KINDS, store_of
from tests.requirements import requirement
from tests.support.apps import APPS
from tests.support.fleet import Fleet, check_one_owner, running_fleet
from tests.support.peer import ENVELOPE, Peer, modern_headers, peer_of, request, session_at
from tests.support.session_calls import TIMEOUT_SECONDS, service_at
from tests.support.waiting import wait_until

from linkspan.session.v1.session_pb2 import Session
from linkspan.session.v1.session_service_pb2 import GetSessionRequest

CLOCK: Final = str(APPS / "clock_shifting.py")
RIGHT: Final = f"{CLOCK}:mcp"
AHEAD: Final = f"{CLOCK}:mcp_ahead"
HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
LEASE_SECONDS: Final = "6"
"""Renewed every 2 s; a busy machine has three times that, so that no lease runs out for its sake."""
CLOSE: Final = 90.0
"""How exact `last_active_time` is, in seconds: it is put on record every minute."""


@contextmanager
def one_server(folder: Path, *arguments: str) -> Generator[tuple[Fleet, str]]:
    """Run a session server and a worker; gives the worker's address."""
    store = f"sqlite:///{folder / 'sessions.db'}"
    with running_fleet(store, servers=1, app=RIGHT, session_arguments=arguments) as fleet:
        yield fleet, fleet.add_worker()
        check_one_owner(fleet.commits())


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, str]]:
    """A session server and a worker, for tests that set the clock right again."""
    with one_server(tmp_path_factory.mktemp("one"), "--lease", LEASE_SECONDS) as running:
        yield running


@pytest.fixture(scope="module", params=KINDS)
def two(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Fleet, str]]:
    """Two session servers, and a worker for the first one; its clock is set right again."""
    leased = ("--lease", LEASE_SECONDS)
    with (
        store_of(request.param, tmp_path_factory.mktemp("two")) as store,
        running_fleet(store, servers=2, app=RIGHT, session_arguments=leased) as fleet,
    ):
        yield fleet, fleet.add_worker(targets=fleet.servers[0].address)
        check_one_owner(fleet.commits())


def session_of(fleet: Fleet, peer: Peer, *, server: int = 0) -> Session:
    """Ask a session server for what is on record."""

    async def ask() -> Session:
        async with service_at(fleet.servers[server].address) as service:
            request = GetSessionRequest(session_id=peer.session_id or "")
            return (await service.GetSession(request, timeout=TIMEOUT_SECONDS)).session

    return asyncio.run(ask())


def active_hours(session: Session) -> float:
    """Return how many hours from now a session was last used, as its record has it."""
    return (session.last_active_time.ToSeconds() - time.time()) / HOUR


def count_of(peer: Peer) -> int:
    """Add one; return the count."""
    answer = peer.call("add_one")
    assert answer.status == 200, answer
    count: int = answer.result["structuredContent"]["result"]
    return count


def shift(peer: Peer, hours: float) -> None:
    """Set the clock of the session's owner; the session is used once more afterwards."""
    assert peer.call("shift", hours=hours).result["structuredContent"] == {"result": hours}
    assert peer.ask("ping").status == 200


@contextmanager
def right_afterwards(peer: Peer) -> Generator[None]:
    """Have the clock be right again for the tests that share the server."""
    try:
        yield
    finally:
        shift(peer, 0)


@requirement("session.clocks")
@pytest.mark.parametrize("hours", [1.0, -1.0, -48.0])
def test_a_session_in_use_outlives_a_jump_and_its_dates_follow_the_clock_both_ways(
    one: tuple[Fleet, str], hours: float
) -> None:
    fleet, worker = one
    with session_at(worker) as peer, right_afterwards(peer):
        assert count_of(peer) == 1
        shift(peer, hours)
        assert count_of(peer) == 2
        jumped = session_of(fleet, peer)
        assert active_hours(jumped) == pytest.approx(hours, abs=CLOSE / HOUR)
        life = jumped.expire_time.ToSeconds() - jumped.last_active_time.ToSeconds()
        assert life == DAY
        shift(peer, 0)
        assert count_of(peer) == 3
        assert active_hours(session_of(fleet, peer)) == pytest.approx(0, abs=CLOSE / HOUR)
        assert not any("lease had run out" in line for line in fleet.servers[0].log)
        assert {each.epoch for each in fleet.commits()} == {1}


@requirement("session.clocks")
@pytest.mark.parametrize("kind", KINDS)
def test_servers_whose_clocks_differ_by_an_hour_share_sessions(tmp_path: Path, kind: str) -> None:
    sleepy = ("--sleep-after", "0.2")
    with (
        store_of(kind, tmp_path) as store,
        running_fleet(store, servers=1, app=RIGHT, session_arguments=sleepy) as fleet,
    ):
        right = fleet.add_worker()
        # As it starts, it lets expire what is due by its own clock: none of these.
        ahead = fleet.add_worker(targets=fleet.add_server("--app", AHEAD).address)
        with session_at(right) as one, peer_of(ahead, session_id=one.session_id) as other:
            for turn in range(3):
                for number, peer in enumerate((one, other)):
                    assert count_of(peer) == 2 * turn + number + 1
                    wait_until_asleep(fleet, one)
            epochs = {each.epoch: each.owner for each in fleet.commits()}
            assert len(epochs) >= 6  # each turn woke it where it came
            assert len(set(epochs.values())) == 2
        with session_at(ahead) as begun_ahead:
            assert count_of(begun_ahead) == 1
            wait_until_asleep(fleet, begun_ahead)
            with peer_of(right, session_id=begun_ahead.session_id) as behind:
                assert count_of(behind) == 2
        check_one_owner(fleet.commits())


def wait_until_asleep(fleet: Fleet, peer: Peer) -> None:
    """Wait until no server has a session in memory."""
    wait_until(lambda: not session_of(fleet, peer).owner_address, "it to sleep")


@requirement("session.clocks")
@pytest.mark.parametrize("hours", [5.0, -5.0])
def test_a_lease_does_not_heed_the_wall_clock(two: tuple[Fleet, str], hours: float) -> None:
    fleet, worker = two
    owner = fleet.servers[0].address
    with session_at(worker) as peer, right_afterwards(peer):
        shift(peer, hours)
        counted = 0
        several_renewals_later = time.monotonic() + 5
        while time.monotonic() < several_renewals_later:
            counted += 1
            assert count_of(peer) == counted
            assert session_of(fleet, peer, server=1).owner_address == owner
        stray_worker = fleet.add_worker(targets=fleet.servers[1].address)
        with peer_of(stray_worker, session_id=peer.session_id) as stray:
            assert count_of(stray) == counted + 1
        assert {each.epoch for each in fleet.commits()} == {1}
        assert not any("had run out" in line for each in fleet.servers for line in each.log)


# --- tasks ----------------------------------------------------------------------------------------

TAKES_TASKS: Final[dict[str, Any]] = {
    **ENVELOPE,
    "io.modelcontextprotocol/clientCapabilities": {
        "extensions": {"io.modelcontextprotocol/tasks": {}}
    },
}


def ask_modern(peer: Peer, method: str, **params: Any) -> dict[str, Any]:
    """Send a request of MCP 2026-07-28 of a client that takes tasks; return the result."""
    message = request(method, {**params, "_meta": TAKES_TASKS})
    headers = modern_headers(message)
    if "taskId" in params:
        headers["mcp-name"] = params["taskId"]
    return peer.post(message, headers=headers).result


def begin_task(peer: Peer) -> str:
    """Begin a task that says something; return its id."""
    begun = ask_modern(peer, "tools/call", name="say", arguments={"text": "hi"})
    assert begun["resultType"] == "task", begun
    task_id: str = begun["taskId"]
    return task_id


def has_completed(peer: Peer, task_id: str) -> bool:
    """Tell whether a task has completed; fails the test if it has failed, or is not there."""
    status = ask_modern(peer, "tasks/get", taskId=task_id)["status"]
    assert status in {"working", "completed"}
    return bool(status == "completed")


@pytest.mark.parametrize("hours", [0.1, -1.0])
def test_tasks_outlive_a_jump_that_is_shorter_than_they_are_kept(
    one: tuple[Fleet, str], hours: float
) -> None:
    _, worker = one
    with session_at(worker) as setter, peer_of(worker) as peer, right_afterwards(setter):
        before = begin_task(peer)
        shift(setter, hours)
        during = begin_task(peer)
        wait_until(lambda: has_completed(peer, before), "the task from before")
        wait_until(lambda: has_completed(peer, during), "the task from after the jump")
        shift(setter, 0)
        assert has_completed(peer, before)
        after = begin_task(peer)
        wait_until(lambda: has_completed(peer, after), "the task from after both")
