"""A session is opened by `initialize`, under an id of its own, and outlives its servers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.integration.handshake_sessions.sessions import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    INVALID_REQUEST,
    REQUEST_CANCELLED,
    ids_on_record,
)
from tests.requirements import requirement
from tests.support.peer import INITIALIZE, Answer, Peer, notification, peer_of, request, session_at
from tests.support.processes import EVERYTHING, linkspan
from tests.support.stack import Stack, running_stack
from tests.support.waiting import wait_until

from linkspan_contract.limits import is_session_id

HANDSHAKE_VERSIONS = ["2025-03-26", "2025-06-18", "2025-11-25"]


# --- opening ---------------------------------------------------------------------------------------


@requirement("session.initialize")
@pytest.mark.parametrize("version", HANDSHAKE_VERSIONS)
def test_initialize_opens_a_session_and_names_it(stack: Stack, peer: Peer, version: str) -> None:
    answer = peer.initialize(protocolVersion=version)
    assert answer.status == 200
    assert answer.result["protocolVersion"] == version
    assert answer.result["serverInfo"]["name"] == "everything"
    assert peer.session_id is not None
    assert is_session_id(peer.session_id)
    assert peer.session_id in ids_on_record(stack)
    assert peer.call("add", a=1, b=2).result["structuredContent"] == {"result": 3}


@requirement("session.initialize")
def test_every_session_has_an_id_that_nobody_can_guess(stack: Stack) -> None:
    ids: set[str] = set()
    for _ in range(10):
        with session_at(stack.mcp) as peer:
            assert peer.session_id is not None
            ids.add(peer.session_id)
    assert len(ids) == 10
    assert min(map(len, ids)) >= 32


@requirement("session.version")
@pytest.mark.parametrize("version", ["2024-01-01", "2030-01-01", "2026-07-28", "x", ""])
def test_an_unknown_version_is_answered_with_one_that_is_served(peer: Peer, version: str) -> None:
    answer = peer.initialize(protocolVersion=version)
    assert answer.status == 200
    assert answer.result["protocolVersion"] == "2025-11-25"


@requirement("session.failed-initialize")
@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"protocolVersion": 7}, INVALID_PARAMS),
        ({"clientInfo": None}, INVALID_PARAMS),
        ({"clientInfo": {"name": "refuse me", "version": "1"}}, CONNECTION_CLOSED),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_a_failed_initialize_leaves_no_session_and_names_none(
    probe: Stack, params: dict[str, object], code: int, accept: str
) -> None:
    before = ids_on_record(probe)
    with peer_of(probe.mcp) as peer:
        message = request("initialize", {**INITIALIZE, **params})
        answer = peer.post(message, headers={"accept": accept})
    assert (answer.status, answer.code) == (200, code)
    assert "mcp-session-id" not in answer.headers
    assert ids_on_record(probe) == before


@requirement("session.again")
def test_a_second_initialize_is_refused_and_the_session_goes_on(session: Peer) -> None:
    answer = session.ask("initialize", INITIALIZE)
    assert (answer.status, answer.code) == (200, INVALID_REQUEST)
    assert session.call("add", a=1, b=2).status == 200


@requirement("session.params-invalid")
def test_before_initialize_a_method_is_refused(probe: Stack) -> None:
    """As the SDK has it: the id is good, but the handshake is missing."""
    name = "hold before"
    with (
        ThreadPoolExecutor(1) as threads,
        peer_of(probe.mcp) as opening,
        session_at(probe.mcp) as other,
    ):
        before = ids_on_record(probe)
        client = {"name": name, "version": "1"}
        answering = threads.submit(opening.initialize, clientInfo=client)
        other.ask("probe/seen", {"name": name, "mark": "started"})
        (session_id,) = ids_on_record(probe) - before
        with peer_of(probe.mcp, session_id=session_id) as early:
            refused = early.ask("probe/say", {"text": "too early"})
            assert (refused.status, refused.code) == (200, INVALID_PARAMS)
            again = early.ask("initialize", INITIALIZE)
            assert (again.status, again.code) == (200, INVALID_REQUEST)
        other.ask("probe/release", {"name": name})
        assert answering.result(timeout=30).status == 200


@requirement("session.failed-initialize", "session.cancelled")
def test_a_cancelled_initialize_leaves_no_session(probe: Stack) -> None:
    name = "hold cancelled"
    with (
        ThreadPoolExecutor(1) as threads,
        peer_of(probe.mcp) as opening,
        session_at(probe.mcp) as other,
    ):
        before = ids_on_record(probe)
        message = request("initialize", {**INITIALIZE, "clientInfo": {"name": name, "version": ""}})
        answering = threads.submit(opening.post, message)
        other.ask("probe/seen", {"name": name, "mark": "started"})
        (session_id,) = ids_on_record(probe) - before
        with peer_of(probe.mcp, session_id=session_id) as canceller:
            cancel = notification("notifications/cancelled", {"requestId": message["id"]})
            assert canceller.post(cancel).status == 202
        assert answering.result(timeout=30).code == REQUEST_CANCELLED
        assert ids_on_record(probe) == before


# --- surviving -------------------------------------------------------------------------------------


@requirement("session.survives")
def test_a_session_outlives_the_death_of_its_session_server(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack, session_at(stack.mcp) as peer:
        assert peer.call("add", a=1, b=2).status == 200
        stack.session.kill()
        port = stack.grpc.rpartition(":")[2]
        arguments = ("--app", EVERYTHING, "--port", port, "--data", str(tmp_path))
        with linkspan("session", *arguments) as another:
            another.wait_ready()
            answer = served(peer)
            assert answer.result["structuredContent"] == {"result": 3}
            again = peer.ask("initialize", INITIALIZE)
            assert (again.status, again.code) == (200, INVALID_REQUEST)
            assert peer.end().status == 200
            assert peer.call("add", a=1, b=2).status == 404


@requirement("session.survives")
def test_a_session_outlives_its_worker_and_is_served_by_any(stack: Stack, session: Peer) -> None:
    with linkspan("worker", "--session", stack.grpc, "--port", "0") as another:
        address = another.wait_ready()["mcp"]
        with peer_of(address, session_id=session.session_id) as peer:
            assert peer.call("add", a=1, b=2).result["structuredContent"] == {"result": 3}
        another.kill()
    assert session.call("add", a=2, b=2).result["structuredContent"] == {"result": 4}


def served(peer: Peer) -> Answer:
    """Call until the worker has found its session server again."""
    answers: list[Answer] = []

    def is_served() -> bool:
        answers.append(peer.call("add", a=1, b=2))
        return answers[-1].status != 503

    wait_until(is_served, "the session server")
    return answers[-1]
