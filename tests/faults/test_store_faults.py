"""The store fails under a load: it is killed, hangs, is away at the start, is full, is locked.

What clients are promised: what was acknowledged is on record, a request gets an answer or 503 that
says when to try again within 10 seconds (a call to the store takes 2 s at most, and a worker waits
1 s for a store), readiness follows the store, and serving goes on by itself.
"""

import hashlib
import resource
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import httpx2
from tests.requirements import requirement
from tests.support.apps import APPS
from tests.support.fleet import check_one_owner, running_fleet
from tests.support.load import counting_clients, is_clear_error, is_refused
from tests.support.peer import Answer, Peer, session_at
from tests.support.valkey import ValkeyServer, running_valkey
from tests.support.waiting import BUSY_SECONDS, wait_until

from linkspan_propagation.testing import OtlpReceiver, assert_one_trace, traces

WAITING: Final = str(APPS / "net_waiting.py") + ":mcp"
SHORT_LEASE: Final = ("--lease", "2")
ANSWER_SECONDS: Final = 10.0 + BUSY_SECONDS


def is_ready(worker: str) -> bool:
    """Tell what the worker says of readiness."""
    status = httpx2.get(worker.removesuffix("/mcp") + "/readyz", timeout=30).status_code
    assert status in {200, 503}
    return status == 200


def count_of(answer: Answer) -> int:
    """Return the count in an answer of `add_one`."""
    assert answer.status == 200, answer
    count: int = answer.result["structuredContent"]["result"]
    return count


def wait_until_counted(peer: Peer) -> None:
    """Add one as soon as that works; until then it is refused, and nothing else."""

    def counted() -> bool:
        answer = peer.call("add_one")
        assert "result" in answer.final or is_refused(answer), answer
        return "result" in answer.final

    wait_until(counted, "an answer")


# --- Valkey ---------------------------------------------------------------------------------------


@requirement("store.away")
def test_a_valkey_that_is_killed_and_started_again_costs_no_acknowledged_write(
    tmp_path: Path,
) -> None:
    with (
        OtlpReceiver() as receiver,
        running_valkey(tmp_path / "valkey") as valkey,
        running_fleet(
            valkey.url,
            servers=2,
            app=WAITING,
            receiver=receiver,
            session_arguments=SHORT_LEASE,
        ) as fleet,
    ):
        worker = fleet.add_worker()
        with counting_clients(worker, 4) as load:
            load.wait_for_answers(20)
            valkey.kill()
            load.wait_for_errors(4)
            wait_until(lambda: not is_ready(worker), "readiness to end")
            valkey.start()
            wait_until(lambda: is_ready(worker), "readiness")
            load.wait_for_answers(20)
            load.check(within_seconds=ANSWER_SECONDS)
        check_one_owner(fleet.commits())
        for process in [*fleet.workers, *(each.process for each in fleet.servers)]:
            assert process.stop() == 0, process.errors
        for spans in traces(receiver.spans()).values():
            assert_one_trace(spans)


def test_a_valkey_that_hangs_is_503_in_time_and_goes_on(tmp_path: Path) -> None:
    with (
        running_valkey(tmp_path / "valkey") as valkey,
        running_fleet(valkey.url, servers=2, app=WAITING, session_arguments=SHORT_LEASE) as fleet,
    ):
        worker = fleet.add_worker()
        with counting_clients(worker, 3) as load:
            load.wait_for_answers(20)
            valkey.hang()
            load.wait_for_errors(3)
            wait_until(lambda: not is_ready(worker), "readiness to end")
            valkey.go_on()
            wait_until(lambda: is_ready(worker), "readiness")
            load.wait_for_answers(20)
            load.check(within_seconds=ANSWER_SECONDS)
        check_one_owner(fleet.commits())


@requirement("store.away")
def test_a_server_whose_store_is_away_at_the_start_serves_once_it_comes(tmp_path: Path) -> None:
    valkey = ValkeyServer(tmp_path / "valkey")
    with running_fleet(valkey.url, servers=1, app=WAITING) as fleet:
        worker = fleet.add_worker()
        assert not is_ready(worker)
        try:
            valkey.start()
            wait_until(lambda: is_ready(worker), "readiness")
            with session_at(worker) as peer:
                assert count_of(peer.call("add_one")) == 1
        finally:
            valkey.kill()


# --- SQLite ---------------------------------------------------------------------------------------


@contextmanager
def disk_full_for(pid: int) -> Generator[None]:
    """Let a process write to no file until the block is left; pipes and sockets are as ever."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def digest_of(peer: Peer) -> str:
    """Return what logs call a session."""
    assert peer.session_id is not None
    return hashlib.sha256(peer.session_id.encode()).hexdigest()[:16]


def is_sound(path: Path) -> bool:
    """Have SQLite check a file."""
    with closing(sqlite3.connect(path)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    return bool(verdict == "ok")


@requirement("store.disk-full")
def test_a_full_disk_refuses_writes_serves_reads_and_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with running_fleet(f"sqlite:///{path}", servers=1, app=WAITING) as fleet:
        worker = fleet.add_worker()
        with session_at(worker) as peer, session_at(worker) as other:
            assert count_of(peer.call("add_one")) == 1
            with disk_full_for(fleet.servers[0].process.pid):
                assert is_clear_error(peer.call("add_one"))
                assert is_clear_error(peer.call("write_with_answer", name="once"))
                assert peer.call("runs", name="once").result["structuredContent"] == {"result": 1}
                # What is in memory is served as long as the lease that was on record lasts.
                assert peer.call("counts").result["structuredContent"] == {"count": 1}
                assert other.ask("tools/list").status == 200
                wait_until(lambda: not is_ready(worker), "readiness to end")
                assert is_clear_error(other.call("add_one"))
            wait_until(lambda: is_ready(worker), "readiness")
            assert count_of(peer.call("add_one")) == 2
            assert count_of(other.call("add_one")) == 1
            fleet.servers[0].process.kill()
            fleet.restart(fleet.servers[0])
            wait_until_counted(peer)
            assert count_of(peer.call("add_one")) == 4
        check_one_owner(fleet.commits())
    assert is_sound(path)


def test_a_disk_that_is_full_now_and_then_costs_no_acknowledged_write(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with running_fleet(f"sqlite:///{path}", servers=2, app=WAITING) as fleet:
        worker = fleet.add_worker()
        with counting_clients(worker, 4) as load:
            for peer in load.peers:
                owner = fleet.owner_of(digest_of(peer))
                with disk_full_for(owner.process.pid):
                    load.wait_for_errors(1)
                load.wait_for_answers(20)
            load.check(within_seconds=ANSWER_SECONDS)
        check_one_owner(fleet.commits())
    assert is_sound(path)


def test_a_file_that_somebody_else_locks_refuses_writes_in_time_and_serves_reads(
    tmp_path: Path,
) -> None:
    path = tmp_path / "sessions.db"
    with running_fleet(f"sqlite:///{path}", servers=1, app=WAITING) as fleet:
        worker = fleet.add_worker()
        with session_at(worker) as peer:
            assert count_of(peer.call("add_one")) == 1
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                assert is_clear_error(peer.call("add_one"))
                assert peer.call("counts").result["structuredContent"] == {"count": 1}
                connection.execute("ROLLBACK")
            wait_until_counted(peer)
            assert count_of(peer.call("add_one")) == 3
        check_one_owner(fleet.commits())
    assert is_sound(path)
