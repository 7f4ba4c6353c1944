"""The life of sessions and the limits of what there may be, over processes and both stores."""

import asyncio
import json
import secrets
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import pytest
from tests.faults.stores import KINDS, store_of
from tests.requirements import requirement
from tests.support.apps import APPS
from tests.support.fleet import Fleet, check_one_owner, running_fleet
from tests.support.load import is_refused
from tests.support.peer import INITIALIZE, Answer, Peer, peer_of, request, session_at
from tests.support.ports import free_port
from tests.support.session_calls import TIMEOUT_SECONDS, Service, service_at
from tests.support.waiting import PATIENCE_SECONDS, wait_until

from linkspan.session.v1.session_pb2 import Principal, Session, SessionState
from linkspan.session.v1.session_service_pb2 import (
    End,
    GetSessionRequest,
    HandleRequestRequest,
    InitRequest,
    Listen,
    ListSessionsRequest,
    Post,
)
from linkspan_contract.status import Failure, read_failure

WAITING: Final = str(APPS / "net_waiting.py") + ":mcp"
REMEMBERING: Final = str(APPS / "net_remembering.py") + ":server"
STRANGER: Final = Principal(issuer="https://issuer.example", subject="mallory")

T = TypeVar("T")


@contextmanager
def one_server(folder: Path, *arguments: str) -> Generator[tuple[Fleet, str]]:
    """Run a session server and a worker that soon gives up; gives the worker's address."""
    store = f"sqlite:///{folder / 'sessions.db'}"
    with running_fleet(store, servers=1, app=WAITING, session_arguments=arguments) as fleet:
        yield fleet, fleet.add_worker("--retry-for", "0.5")
        check_one_owner(fleet.commits())


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, str]]:
    """A worker, and a session server that forgets sessions soon; each test has its own sessions."""
    with one_server(tmp_path_factory.mktemp("forgetful"), "--session-ttl", "4") as running:
        yield running


def ask(fleet: Fleet, what: Callable[[Service], Coroutine[Any, Any, T]]) -> T:
    """Call the first session server by its stub."""

    async def call() -> T:
        async with service_at(fleet.servers[0].address) as service:
            return await what(service)

    return asyncio.run(call())


def session_of(fleet: Fleet, peer: Peer) -> Session:
    """Return what is on record of a session."""

    async def get(service: Service) -> Session:
        wanted = GetSessionRequest(session_id=peer.session_id or "")
        return (await service.GetSession(wanted, timeout=TIMEOUT_SECONDS)).session

    return ask(fleet, get)


def wait_until_in(fleet: Fleet, peer: Peer, state: SessionState.ValueType) -> None:
    """Wait until a session is in a state."""
    name = SessionState.Name(state)
    wait_until(lambda: session_of(fleet, peer).state == state, f"the session to be {name}")


def count_of(peer: Peer) -> int:
    """Add one; return the count."""
    answer = peer.call("add_one")
    assert answer.status == 200, answer
    count: int = answer.result["structuredContent"]["result"]
    return count


def is_429(answer: Answer) -> bool:
    """Tell whether an answer says that there is too much of something, and when to try again."""
    return answer.status == 429 and "error" in answer.final and "retry-after" in answer.headers


# --- sleep ----------------------------------------------------------------------------------------


@requirement("session.sleep")
@pytest.mark.parametrize("kind", KINDS)
def test_an_idle_session_leaves_memory_and_wakes_on_any_server_as_it_was(
    tmp_path: Path, kind: str
) -> None:
    capabilities = {"roots": {"listChanged": True}, "sampling": {}}
    with (
        store_of(kind, tmp_path) as store,
        running_fleet(
            store, servers=2, app=REMEMBERING, session_arguments=("--sleep-after", "0.5")
        ) as fleet,
    ):
        first, second = (fleet.add_worker(targets=each.address) for each in fleet.servers)
        params = {"protocolVersion": "2025-06-18", "capabilities": capabilities}
        with (
            session_at(first, **params) as here,
            peer_of(second, session_id=here.session_id) as there,
        ):
            here.ask("logging/setLevel", {"level": "warning"})
            for uri in ("note://1", "note://2", "note://3"):
                assert here.ask("resources/subscribe", {"uri": uri}).status == 200
            assert here.ask("resources/unsubscribe", {"uri": "note://2"}).status == 200
            before = here.ask("net/remembered").result
            assert before["uris"] == ["note://1", "note://3"]
            for peer in (there, here, here):
                wait_until_in(fleet, here, SessionState.SESSION_STATE_ASLEEP)
                asleep_now = session_of(fleet, here)
                assert asleep_now.owner_address == ""
                assert peer.ask("net/remembered").result == before
                assert session_of(fleet, here).epoch > asleep_now.epoch
            assert before == {
                "level": "warning",
                "uris": ["note://1", "note://3"],
                "version": "2025-06-18",
                "client": "peer",
                "capabilities": capabilities,
            }
        owners = [each.owner for each in sorted(fleet.commits(), key=lambda each: each.version)]
        assert len(set(owners)) == 2
        check_one_owner(fleet.commits())


# --- the end --------------------------------------------------------------------------------------


@requirement("session.expiry", "session.reasons")
def test_expired_ended_and_unknown_are_told_apart_by_its_own_client(
    forgetful: tuple[Fleet, str],
) -> None:
    fleet, worker = forgetful
    with (
        session_at(worker) as expired,
        session_at(worker) as ended,
        peer_of(worker, session_id=secrets.token_urlsafe(24)) as unknown,
    ):
        assert ended.end().status in {200, 204}
        wait_until_in(fleet, expired, SessionState.SESSION_STATE_EXPIRED)
        answers = [peer.ask("ping") for peer in (expired, ended, unknown)]
        assert [answer.status for answer in answers] == [404] * 3
        assert [answer.error["message"] for answer in answers] == [
            "Session not found: it was not used for too long; start a new one",
            "Session not found: it was ended; start a new one",
            "Session not found",
        ]
        assert session_of(fleet, ended).state == SessionState.SESSION_STATE_ENDED


def test_a_session_that_is_at_work_does_not_expire(forgetful: tuple[Fleet, str]) -> None:
    fleet, worker = forgetful
    with (
        session_at(worker) as busy,
        session_at(worker) as unused,
        session_at(worker) as other,
        ThreadPoolExecutor(1) as threads,
    ):
        working = threads.submit(busy.call, "run_and_wait", name="long", length=1)
        other.call("started", name="long")
        wait_until_in(fleet, unused, SessionState.SESSION_STATE_EXPIRED)
        with session_at(worker) as late:
            late.call("release", name="long")
        assert working.result(timeout=PATIENCE_SECONDS).result["structuredContent"] == {
            "result": "x"
        }
        assert busy.call("counts").result["structuredContent"] == {"runs": 1}


@requirement("session.reasons")
def test_a_stranger_cannot_tell_whether_there_is_or_was_a_session(
    forgetful: tuple[Fleet, str],
) -> None:
    fleet, worker = forgetful
    with (
        session_at(worker) as expired,
        session_at(worker) as ended,
    ):
        ended.end()
        wait_until_in(fleet, expired, SessionState.SESSION_STATE_EXPIRED)
        with session_at(worker) as live:
            ids = [peer.session_id or "" for peer in (live, ended, expired)]
            ids.append(secrets.token_urlsafe(24))

            async def tell(service: Service) -> list[Failure]:
                return [await refusal(service, session_id, do) for session_id in ids for do in ALL]

            told = ask(fleet, tell)
            assert len(set(told)) == 1, set(told)
            assert told[0].code is grpc.StatusCode.NOT_FOUND
            assert live.ask("ping").status == 200

            # An id that is taken is told of, but not what became of it.
            async def init(service: Service) -> set[Failure]:
                found: set[Failure] = set()
                for session_id in ids[:3]:
                    asked = InitRequest(session_id=session_id, principal=STRANGER)
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await service.Init(asked, timeout=TIMEOUT_SECONDS)
                    found.add(read_failure(caught.value))
                return found

            assert [each.code for each in ask(fleet, init)] == [grpc.StatusCode.ALREADY_EXISTS]


PING: Final = json.dumps(request("ping"))
ALL: Final[list[dict[str, Any]]] = [
    {"post": Post(message=PING)},
    {"listen": Listen()},
    {"end": End()},
]


async def refusal(service: Service, session_id: str, do: dict[str, Any]) -> Failure:
    """Have a stranger do something with a session; return how that failed."""
    asked = HandleRequestRequest(session_id=session_id, principal=STRANGER, **do)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in service.HandleRequest(asked, timeout=TIMEOUT_SECONDS):
            pass
    return read_failure(caught.value)


# --- how many -------------------------------------------------------------------------------------


@requirement("session.limits")
@pytest.mark.parametrize("kind", KINDS)
def test_a_session_too_many_is_429_until_another_one_ends(tmp_path: Path, kind: str) -> None:
    with (
        store_of(kind, tmp_path) as store,
        running_fleet(
            store, servers=2, app=WAITING, session_arguments=("--max-sessions", "2")
        ) as fleet,
    ):
        worker = fleet.add_worker()
        with session_at(worker) as one, session_at(worker) as two, peer_of(worker) as three:
            refused = three.post(request("initialize", INITIALIZE))
            assert is_429(refused), refused
            assert "mcp-session-id" not in refused.headers
            assert count_of(one) == count_of(two) == 1
            one.end()
            assert three.initialize().status == 200
            assert count_of(three) == 1
            assert count_of(two) == 2


@requirement("session.limits")
def test_over_the_sessions_in_memory_the_least_recently_used_sleeps(tmp_path: Path) -> None:
    with one_server(tmp_path, "--max-live", "2") as (fleet, worker), ExitStack() as stack:
        peers = [stack.enter_context(session_at(worker)) for _ in range(2)]
        assert peers[0].ask("ping").status == 200
        peers.append(stack.enter_context(session_at(worker)))
        assert [is_asleep(fleet, each) for each in peers] == [False, True, False]
        for count in (1, 2):
            for number, peer in enumerate(peers):
                assert count_of(peer) == count
                assert [is_asleep(fleet, each) for each in peers].count(True) == 1
                assert not is_asleep(fleet, peers[number - 1])  # the one before it


def is_asleep(fleet: Fleet, peer: Peer) -> bool:
    """Tell whether a session is in nobody's memory."""
    return session_of(fleet, peer).state == SessionState.SESSION_STATE_ASLEEP


@requirement("session.limits")
def test_where_all_sessions_in_memory_are_busy_one_more_is_503_and_they_are_unharmed(
    tmp_path: Path,
) -> None:
    with (
        one_server(tmp_path, "--max-live", "2") as (_, worker),
        session_at(worker) as waiting,
        ThreadPoolExecutor(2) as threads,
        ExitStack() as stack,
    ):
        busy = [stack.enter_context(session_at(worker)) for _ in range(2)]
        running = [
            threads.submit(each.call, "run_and_wait", name=str(number), length=1)
            for number, each in enumerate(busy)
        ]
        helpers = [stack.enter_context(peer_of(worker, session_id=p.session_id)) for p in busy]
        for number, helper in enumerate(helpers):
            helper.call("started", name=str(number))
        assert is_refused(waiting.call("add_one"))
        with peer_of(worker) as new:
            assert is_refused(new.post(request("initialize", INITIALIZE)))
        for number, helper in enumerate(helpers):
            assert helper.call("release", name=str(number)).status == 200
        for answer in running:
            assert answer.result(timeout=PATIENCE_SECONDS).result["structuredContent"] == {
                "result": "x"
            }
        wait_until(lambda: waiting.call("add_one").status == 200, "room")
        for each in busy:
            assert each.call("counts").result["structuredContent"] == {"runs": 1}


@requirement("session.limits")
def test_a_request_too_many_is_429_and_harms_neither_its_session_nor_others(tmp_path: Path) -> None:
    with (
        one_server(tmp_path, "--max-requests", "2") as (_, worker),
        session_at(worker) as full,
        session_at(worker) as other,
        peer_of(worker, session_id=full.session_id) as second,
        peer_of(worker, session_id=full.session_id) as third,
        ThreadPoolExecutor(2) as threads,
    ):
        running = [
            threads.submit(peer.call, "run_and_wait", name=name, length=1)
            for name, peer in (("a", full), ("b", second))
        ]
        for name in "ab":
            other.call("started", name=name)
        refused = third.call("add_one")
        assert is_429(refused), refused
        assert count_of(other) == 1
        for name in "ab":
            other.call("release", name=name)
        for answer in running:
            assert answer.result(timeout=PATIENCE_SECONDS).result["structuredContent"] == {
                "result": "x"
            }
        wait_until(lambda: third.call("add_one").status == 200, "room")
        assert full.call("counts").result["structuredContent"] == {"runs": 2, "count": 1}


# --- balance --------------------------------------------------------------------------------------


@requirement("session.balance")
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_with_far_more_than_its_share_lets_idle_sessions_wake_on_another(
    tmp_path: Path, kind: str
) -> None:
    port, many = free_port(), 80
    with (
        store_of(kind, tmp_path) as store,
        running_fleet(store, servers=1, app=WAITING, session_arguments=("--lease", "2")) as fleet,
        ExitStack() as stack,
    ):
        first = fleet.servers[0]
        worker = fleet.add_worker(targets=f"{first.address},127.0.0.1:{port}")
        peers = [stack.enter_context(session_at(worker)) for _ in range(many)]
        for peer in peers:
            assert count_of(peer) == 1
        second = fleet.add_server(port=port)
        wait_until(lambda: len(asleep(fleet)) >= many // 2 - 8, "sessions to sleep")
        assert len(asleep(fleet)) <= many - 8  # the others stay
        for peer in peers:
            assert count_of(peer) == 2
        owners = [each.owner_address for each in all_sessions(fleet)]
        assert min(owners.count(first.address), owners.count(second.address)) >= many // 8, owners
        check_one_owner(fleet.commits())


def all_sessions(fleet: Fleet) -> list[Session]:
    """Return all sessions, of which there are few enough for one page."""

    async def list_them(service: Service) -> list[Session]:
        page = await service.ListSessions(
            ListSessionsRequest(page_size=1000), timeout=TIMEOUT_SECONDS
        )
        return list(page.sessions)

    return ask(fleet, list_them)


def asleep(fleet: Fleet) -> set[str]:
    """Return which sessions are in nobody's memory."""
    state = SessionState.SESSION_STATE_ASLEEP
    return {each.session_id for each in all_sessions(fleet) if each.state == state}
