"""The trees of requests whose session sleeps, expires or moves, and of those whose server goes away.

Two session servers share a store. Sessions are opened through a worker that knows the first one
only, and used through another that finds them by being sent there; so whatever happens to the first
one, there is one way to go on.
"""

import signal
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx2
import pytest
from grpc_health.v1 import health_pb2
from tests.faults.scene import FAULT_COUNTING
from tests.requirements import requirement
from tests.support.fleet import Fleet, SessionServer, running_fleet
from tests.support.mcp_http import HttpSession, JsonObject, call
from tests.support.processes import ServiceProcess
from tests.support.waiting import wait_until
from tests.trees.stage import PROCESS_IDS, Stage, staged

from linkspan.session.v1.session_pb2 import SessionState
from linkspan.session.v1.session_service_pb2 import GetSessionRequest, GetSessionResponse
from linkspan.session.v1.session_service_pb2_grpc import SessionServiceStub

LOST = -32000
KILLED = -signal.SIGKILL


@dataclass
class Troupe:
    """Two session servers, the workers before them, and what is played there."""

    stage: Stage
    fleet: Fleet
    marks: Path
    threads: ThreadPoolExecutor
    to_first: str
    to_second: str

    @property
    def first(self) -> SessionServer:
        """The server that sessions are opened at."""
        return self.fleet.servers[0]

    def be_ready(self) -> None:
        """Start the first server again if it has gone, and say who is who."""
        if not self.first.process.running:
            self.fleet.restart(self.first)
        for server, role in zip(self.fleet.servers, ("first", "second"), strict=False):
            self.stage.roles[server.process.pid] = role

    @contextmanager
    def session(self, *, known: bool = True) -> Generator[HttpSession]:
        """Open a session at the first server, to be used through the other worker.

        Args:
            known: Whether that worker knows by now who owns the session.
        """
        with self.stage.session(self.to_first) as session:
            session.address = self.to_second
            if known:
                assert session.post(call("read")).status_code == 200
            yield session

    def begin(self, session: HttpSession, tool: str, name: str) -> "Future[httpx2.Response]":
        """Call a tool, and return when its handler has begun."""
        answer = self.threads.submit(session.post, call(tool, {"name": name}))
        wait_until((self.marks / f"{name}.runs").exists, f"{name} to begin")
        return answer

    def let_go(self, name: str) -> None:
        """Let a handler that waits go on."""
        (self.marks / f"{name}.go").touch()

    def kill_first(self) -> None:
        """Kill the first server with SIGKILL, and wait until it is gone."""
        self.first.process.signal(signal.SIGKILL)
        assert self.first.process.wait() == KILLED


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Troupe]:
    folder = tmp_path_factory.mktemp("trees")
    marks = folder / "marks"
    marks.mkdir()
    with (
        staged() as stage,
        ThreadPoolExecutor(4) as threads,
        running_fleet(
            f"sqlite:///{folder / 'sessions.db'}",
            servers=2,
            app=FAULT_COUNTING,
            receiver=stage.receiver,
            env={"FAULT_FOLDER": str(marks), **PROCESS_IDS},
            # Nothing here is decided by how long something took.
            session_arguments=("--lease", "60", "--open-stream-after", "60"),
        ) as fleet,
    ):
        first, second = (server.address for server in fleet.servers)
        to_first, to_second = (
            fleet.add_worker("--retry-for", "15", targets=each) for each in (first, second)
        )
        yield Troupe(stage, fleet, marks, threads, to_first, to_second)
        stop([*fleet.workers, *(server.process for server in fleet.servers)])


@pytest.fixture
def troupe(played: Troupe) -> Troupe:
    played.be_ready()
    return played


def stop(processes: list[ServiceProcess]) -> None:
    """Stop what still runs, so that it tells all that it has."""
    for process in processes:
        if process.running:
            assert process.stop() == 0, process.errors


def draining(address: str) -> bool:
    """Tell whether a session server has said that it is about to end."""
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        health = check(health_pb2.HealthCheckRequest(), timeout=15)
    return bool(health.status != health_pb2.HealthCheckResponse.SERVING)


def structured(response: httpx2.Response) -> JsonObject:
    """Return what a tool answered."""
    assert response.status_code == 200, response.text
    content: JsonObject = response.json()["result"]["structuredContent"]
    return content


# --- sessions that rest --------------------------------------------------------------------------


@requirement("trace.trees")
def test_a_session_that_sleeps_and_wakes_is_drawn(troupe: Troupe) -> None:
    server = troupe.fleet.add_server("--sleep-after", "0.2")
    worker = troupe.fleet.add_worker(targets=server.address)
    with troupe.stage.session(worker) as session:
        wait_until(lambda: is_asleep(server, session), "the session to sleep")
        pid = server.process.pid
        with troupe.stage.watch("sleep-and-wake", chores=["session.sleep"], server=pid):
            structured(session.post(call("read")))


@requirement("trace.trees")
def test_a_session_that_expires_is_drawn(troupe: Troupe) -> None:
    server = troupe.fleet.add_server("--sleep-after", "0.2", "--session-ttl", "3")
    worker = troupe.fleet.add_worker(targets=server.address)
    with troupe.stage.session(worker) as session:
        wait_until(lambda: is_asleep(server, session), "the session to sleep")
        pid = server.process.pid
        troupe.stage.wait_for_span("session.sweep", pid)
        with troupe.stage.watch("expiry-sweep", chores=["session.sweep"], server=pid):
            assert session.post(call("read")).status_code == 404


def is_asleep(server: SessionServer, session: HttpSession) -> bool:
    """Tell whether a session is in the memory of no server."""
    with grpc.insecure_channel(server.address) as channel:
        request = GetSessionRequest(session_id=session.session_id)
        found: GetSessionResponse = SessionServiceStub(channel).GetSession(request, timeout=15)
    return found.session.state in (
        SessionState.SESSION_STATE_ASLEEP,
        SessionState.SESSION_STATE_EXPIRED,
    )


# --- servers that go away ------------------------------------------------------------------------


@requirement("trace.trees")
def test_a_session_that_another_server_takes_over_is_drawn(troupe: Troupe) -> None:
    with troupe.session(known=False) as session:
        troupe.kill_first()
        # One that has no connection to the first server, and so none that breaks meanwhile.
        session.address = troupe.fleet.add_worker(targets=troupe.fleet.servers[1].address)
        with troupe.stage.watch("take-over"):
            structured(session.post(call("read")))


@requirement("trace.trees")
def test_a_server_that_drains_is_drawn(troupe: Troupe) -> None:
    pid = troupe.first.process.pid
    with (
        troupe.session() as busy,
        troupe.session() as idle,
        troupe.stage.watch("drain", chores=["session.drain"], server=pid),
    ):
        answer = troupe.begin(busy, "work", "drained")
        troupe.first.process.signal(signal.SIGTERM)
        wait_until(lambda: draining(troupe.first.address), "the server to drain")
        structured(idle.post(call("read")))
        troupe.let_go("drained")
        structured(answer.result(15))
        assert troupe.first.process.wait() == 0


@requirement("trace.trees", "session.run-once")
def test_a_harmless_call_that_is_made_again_is_drawn(troupe: Troupe) -> None:
    with troupe.session() as session, troupe.stage.watch("retry"):
        answer = troupe.begin(session, "look", "again")
        troupe.stage.wait_until_marked("McpSession.handleRequest", "tools/call look")
        troupe.kill_first()
        troupe.let_go("again")
        structured(answer.result(15))


@requirement("trace.trees", "session.run-once")
def test_a_session_server_that_is_killed_is_drawn(troupe: Troupe) -> None:
    with troupe.session() as session, troupe.stage.watch("session-server-killed"):
        answer = troupe.begin(session, "work", "lost")
        troupe.stage.wait_until_marked("McpSession.handleRequest", "tools/call work")
        troupe.kill_first()
        assert answer.result(15).json()["error"]["code"] == LOST


@requirement("trace.trees")
def test_a_worker_that_is_killed_is_drawn(troupe: Troupe) -> None:
    mortal = troupe.fleet.add_worker(targets=troupe.first.address)
    worker = troupe.fleet.workers[-1]
    with troupe.session(known=False) as session, troupe.stage.watch("worker-killed"):
        session.address = mortal
        answer = troupe.begin(session, "work", "orphaned")
        troupe.stage.wait_until_marked("mcp.request")
        worker.signal(signal.SIGKILL)
        assert worker.wait() == KILLED
        assert isinstance(answer.exception(15), httpx2.TransportError)
        troupe.let_go("orphaned")
