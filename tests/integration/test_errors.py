"""When something behind the worker fails: one clear answer, no internals, and recovery by itself."""

import sqlite3
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.peer import (
    INITIALIZE,
    Answer,
    Peer,
    modern,
    modern_headers,
    notification,
    peer_of,
    request,
    session_at,
)
from tests.support.processes import ServiceProcess, linkspan
from tests.support.stack import Stack, running_stack
from tests.support.waiting import BUSY_SECONDS, PATIENCE_SECONDS, wait_until

INVALID_REQUEST = -32600
INTERNAL_ERROR = -32603
REQUEST_TIMEOUT = -32001
LOST = -32000
SWORDFISH = "swordfish"
"""A word that only the hosted server knows."""

IMPATIENT = ("--retry-for", "1")
"""Has a worker say soon what it would otherwise try again for some seconds."""

Asking = Callable[[Peer], Answer]


def ask_request(peer: Peer) -> Answer:
    return peer.ask("probe/say", {"text": "hi"})


def ask_notification(peer: Peer) -> Answer:
    return peer.post(notification("notifications/initialized"))


def ask_initialize(peer: Peer) -> Answer:
    return peer.post(request("initialize", INITIALIZE), headers={"mcp-session-id": None})


def ask_modern(peer: Peer) -> Answer:
    return peer.ask_modern("probe/say", {"text": "hi"})


def ask_listen(peer: Peer) -> Answer:
    return peer.send("GET")


def ask_end(peer: Peer) -> Answer:
    return peer.end()


ALL_WAYS: tuple[Asking, ...] = (
    ask_request,
    ask_notification,
    ask_initialize,
    ask_modern,
    ask_listen,
    ask_end,
)


def assert_try_again(answer: Answer) -> None:
    """Check the one answer to whatever cannot be served for a while."""
    assert (answer.status, answer.code) == (503, INTERNAL_ERROR)
    assert answer.headers["retry-after"] == "1"
    assert "try again" in answer.error["message"]
    assert "mcp-session-id" not in answer.headers


# --- a session server that is down -----------------------------------------------------------------


@contextmanager
def session_server(stack: Stack) -> Generator[ServiceProcess]:
    """Start another session server in the place of a stack's own."""
    port = stack.grpc.rpartition(":")[2]
    with linkspan("session", "--app", PROBE, "--port", port, "--data", str(stack.data)) as another:
        another.wait_ready()
        yield another


def recovered(ask: Callable[[], Answer]) -> Answer:
    """Ask until the answer is not 503, which takes no longer than `Retry-After` promises, twice."""
    answers: list[Answer] = []

    def is_served() -> bool:
        answers.append(ask())
        return answers[-1].status != 503

    wait_until(is_served, "an answer", seconds=2 + BUSY_SECONDS)
    return answers[-1]


@requirement("error.session-server-down")
def test_without_its_session_server_a_worker_says_when_to_come_back_and_recovers(
    tmp_path: Path,
) -> None:
    with (
        running_stack(tmp_path, app=PROBE, worker_arguments=IMPATIENT) as stack,
        session_at(stack.mcp) as peer,
    ):
        stack.session.kill()
        # What leaves before the worker has noticed is in doubt, and told so.
        readyz = stack.http + "/readyz"
        wait_until(lambda: peer.http.get(readyz).status_code == 503, "the worker to notice")
        for ask in (*ALL_WAYS, ask_request):
            assert_try_again(ask(peer))
        assert peer.http.get(stack.http + "/healthz").status_code == 200
        ready = peer.http.get(stack.http + "/readyz")
        assert ready.status_code == 503
        assert "no session server is ready" in ready.json()["status"]
        refused = peer.send("POST", b"{")
        assert refused.status == 400, "what is refused anyway needs no session server"

        with session_server(stack):
            answer = recovered(lambda: peer.ask("probe/whoami"))
            assert answer.result == {"client": "peer", "version": "2025-11-25"}
            wait_until(lambda: peer.http.get(readyz).status_code == 200, "the worker to say so")


@requirement("error.session-server-down")
def test_a_worker_may_start_before_its_session_server(tmp_path: Path) -> None:
    with running_stack(tmp_path, app=PROBE) as first:
        target = first.grpc
        first.session.kill()
        with linkspan("worker", "--session", target, "--port", "0", *IMPATIENT) as worker:
            address = worker.wait_ready()["mcp"]
            with peer_of(address) as peer:
                assert_try_again(ask_initialize(peer))
                with session_server(first):
                    assert recovered(lambda: ask_initialize(peer)).status == 200


@requirement("error.session-server-down")
def test_a_call_whose_session_server_dies_is_answered_with_one_error(tmp_path: Path) -> None:
    with (
        running_stack(
            tmp_path, app=PROBE, worker_arguments=(*IMPATIENT, "--comment-every", "0.05")
        ) as stack,
        session_at(stack.mcp) as streaming,
        session_at(stack.mcp) as waiting,
        session_at(stack.mcp) as listening,
        session_at(stack.mcp) as witness,
        ThreadPoolExecutor(1) as threads,
        listening.listen() as listened,
        streaming.stream(request("probe/hold", {"name": "streaming"}, id=5)) as stream,
    ):
        json_only = {"accept": "application/json"}
        hold = request("probe/hold", {"name": "waiting"}, id=6)
        answering = threads.submit(waiting.post, hold, headers=json_only)
        for name in ("streaming", "waiting"):
            witness.ask("probe/seen", {"name": name, "mark": "started"})
        stack.session.kill()
        answer = stream.rest()
        assert (answer.code, answer.final["id"]) == (LOST, 5)
        assert len(answer.messages) == 1
        assert listened.rest().messages == []
        answer = answering.result(timeout=PATIENCE_SECONDS)
        assert (answer.status, answer.code, answer.final["id"]) == (503, LOST, 6)
        assert "retry-after" not in answer.headers, "it may have run"


@requirement("error.store-down")
def test_without_its_store_a_session_server_says_when_to_come_back_and_recovers(
    tmp_path: Path,
) -> None:
    with running_stack(tmp_path, app=PROBE) as stack, session_at(stack.mcp) as peer:
        alter(stack, "ALTER TABLE sessions RENAME TO away")
        assert_try_again(ask_initialize(peer))
        with peer_of(stack.mcp, session_id="not-in-memory") as stranger:
            assert_try_again(ask_request(stranger))
        assert_try_again(peer.end())
        assert ask_modern(peer).status == 200, "a request without a session needs no store"
        assert ask_request(peer).status == 200, "nor does a session that is in memory"
        alter(stack, "ALTER TABLE away RENAME TO sessions")
        assert ask_initialize(peer).status == 200
        assert peer.end().status == 200
        assert not any("Traceback" in line for line in stack.worker.errors)


def alter(stack: Stack, statement: str) -> None:
    """Change a session server's file behind its back."""
    with closing(sqlite3.connect(stack.data / "sessions.db")) as connection:
        connection.execute(statement)


# --- time ------------------------------------------------------------------------------------------


@requirement("error.timeout")
@pytest.mark.parametrize("era", ["handshake", "modern"])
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize(
    ("impatient", "statuses"),
    # Both sides count the same time down if it is the worker's: either may be the first to say so.
    [("session", {200}), ("worker", {200, 504})],
)
def test_a_request_over_its_time_gets_one_error_and_is_stopped(
    hasty: Callable[[str], Stack],
    impatient: str,
    statuses: set[int],
    era: str,
    accept: str,
) -> None:
    stack = hasty(impatient)
    name = f"too long {era} {accept}"
    hold = {"name": name}
    with session_at(stack.mcp) as peer:
        if era == "modern":
            message = modern("probe/hold", hold)
            answer = peer.post(message, headers={**modern_headers(message), "accept": accept})
        else:
            answer = peer.post(request("probe/hold", hold), headers={"accept": accept})
        assert answer.code == REQUEST_TIMEOUT
        assert answer.status in statuses
        assert len(answer.messages) == 1
        assert peer.ask("probe/seen", {"name": name, "mark": "cancelled"}).result == {}


@pytest.fixture(scope="module")
def hasty(
    probe: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Stack]]:
    """Stacks in which either side has no patience, by which side it is."""
    short = ("--request-timeout", "1")  # in which a session is opened, too
    with (
        running_stack(
            tmp_path_factory.mktemp("session"), app=PROBE, session_arguments=short
        ) as session,
        probe.with_worker(*short) as worker,
    ):
        yield {"session": session, "worker": worker}.__getitem__


# --- the hosted server -----------------------------------------------------------------------------


@requirement("error.handler")
@pytest.mark.parametrize("kind", ["raise", "exit", "cancel-itself"])
@pytest.mark.parametrize("era", ["handshake", "modern"])
def test_what_a_handler_raises_stays_in_the_log(
    probe: Stack, prober: Peer, kind: str, era: str
) -> None:
    ask = prober.ask if era == "handshake" else prober.ask_modern
    answer = ask("probe/go_wrong", {"kind": kind})
    assert (answer.status, answer.code) == (200, INTERNAL_ERROR)
    assert SWORDFISH not in str(answer.messages)
    correlation_id: str = answer.error["data"]["correlationId"]
    wait_until(
        lambda: any(correlation_id in line for line in probe.session.errors), "the correlation id"
    )
    assert ask("probe/say", {"text": "still here"}).status == 200


@requirement("error.handler")
def test_what_a_tool_means_its_client_to_read_is_told(session: Peer) -> None:
    answer = session.call("fail", message="out of paper")
    assert answer.result["isError"] is True
    assert "out of paper" in answer.result["content"][0]["text"]


@requirement("error.unwritable-answer")
@pytest.mark.parametrize("kind", ["nan", "object", "deep", "error-code", "too-large"])
@pytest.mark.parametrize("era", ["handshake", "modern"])
def test_an_answer_that_is_not_json_becomes_an_internal_error(
    probe: Stack, prober: Peer, kind: str, era: str
) -> None:
    ask = prober.ask if era == "handshake" else prober.ask_modern
    answer = ask("probe/go_wrong", {"kind": kind})
    assert (answer.status, answer.code) == (200, INTERNAL_ERROR)
    assert len(answer.messages) == 1
    assert SWORDFISH not in str(answer.messages)
    correlation_id: str = answer.error["data"]["correlationId"]
    wait_until(
        lambda: any(correlation_id in line for line in probe.session.errors), "the correlation id"
    )


@requirement("error.unwritable-answer")
def test_half_a_pair_of_surrogates_is_json_after_all(prober: Peer) -> None:
    assert prober.ask("probe/go_wrong", {"kind": "surrogate"}).result == {"text": "\ud800"}
