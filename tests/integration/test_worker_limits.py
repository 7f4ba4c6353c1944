"""What callers and processes can take, over real processes: 429 for the one, 503 for the others."""

import asyncio
import json
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import pytest
from mcp import Client
from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.load import is_refused
from tests.support.peer import Peer, modern, modern_headers, peer_of, session_at
from tests.support.scrape import metrics_of, scrape
from tests.support.stack import Stack, running_stack
from tests.support.waiting import PATIENCE_SECONDS, wait_until

from linkspan_process.overload import QueueGate
from linkspan_worker.reading import Nothing
from linkspan_worker.session_client import Answer, Principal, SessionClient

METRICS_ON: Final = ("--metrics-port", "0")
REFUSALS: Final = "linkspan_worker_refusals_total"


def echoed(peer: Peer) -> int:
    """Ask for something without a session; gives the status."""
    return peer.ask_modern("probe/say", {"text": "hi"}).status


@requirement("limits.caller-rate")
def test_a_caller_that_comes_too_often_gets_429_and_is_told_when_to_come(probe: Stack) -> None:
    arguments = ("--rate", "1/h", "--rate-burst", "3", *METRICS_ON)
    with (
        probe.with_worker(*arguments) as stack,
        peer_of(stack.mcp) as peer,
    ):
        assert [echoed(peer) for _ in range(3)] == [200] * 3
        message = modern("probe/say", {"text": "hi"}, id="mine")
        answer = peer.post(message, headers=modern_headers(message))
        assert (answer.status, answer.code, answer.final["id"]) == (429, -32600, "mine")
        assert 3000 < int(answer.headers["retry-after"]) <= 3600
        assert peer.http.get(stack.http + "/healthz").status_code == 200
        assert peer.http.options(stack.mcp).status_code == 204
        seen = scrape(metrics_of(stack.worker))
        assert seen.value(REFUSALS, reason="caller_rate") == 1


@requirement("limits.caller-rate")
@pytest.mark.parametrize("rate", ["1/h", "100/m"])
def test_the_official_client_connects_and_calls_whatever_the_rate_is(
    rate: str, tmp_path: Path
) -> None:
    async def call(url: str) -> None:
        async with Client(url) as client:
            await client.list_tools()

    with running_stack(tmp_path, worker_arguments=("--rate", rate)) as stack:
        asyncio.run(call(stack.mcp))


@requirement("limits.connections-per-address")
def test_an_address_with_too_many_connections_gets_503_and_keeps_those_it_has(
    tmp_path: Path,
) -> None:
    arguments = ("--max-connections-per-address", "2", *METRICS_ON)
    with (
        running_stack(tmp_path, app=PROBE, worker_arguments=arguments) as stack,
        peer_of(stack.mcp) as first,
        peer_of(stack.mcp) as second,
    ):
        assert [echoed(first), echoed(second)] == [200] * 2
        with socket.create_connection(address_of(stack), PATIENCE_SECONDS) as third:
            assert third.recv(64).startswith(b"HTTP/1.1 503 ")
        assert [echoed(first), echoed(second)] == [200] * 2
        seen = scrape(metrics_of(stack.worker))
        assert seen.value(REFUSALS, reason="address_connections") == 1
        first.close()
        with peer_of(stack.mcp) as another:
            wait_until(lambda: takes_connections(another), "the connection to have ended")


def address_of(stack: Stack) -> tuple[str, int]:
    """Return the worker's address as sockets have it."""
    url = urlsplit(stack.http)
    return url.hostname or "", url.port or 0


def takes_connections(peer: Peer) -> bool:
    """Tell whether a connection is served; one that is refused may be reset before it is read."""
    with suppress(httpx2.TransportError):
        return peer.ask_modern("probe/say", {"text": "hi"}).status == 200
    return False


@requirement("limits.caller-in-flight")
def test_a_caller_with_too_many_requests_under_way_gets_429_until_one_has_ended(
    probe: Stack,
) -> None:
    arguments = ("--max-in-flight-per-caller", "2")
    with (
        probe.with_worker(*arguments) as stack,
        session_at(stack.mcp) as first,
        session_at(stack.mcp) as second,
        peer_of(stack.mcp) as third,
    ):
        with first.listen(), second.listen():
            answer = third.ask_modern("probe/say", {"text": "hi"})
            assert (answer.status, answer.headers["retry-after"]) == (429, "1")
            assert "under way" in answer.error["message"]
        wait_until(lambda: echoed(third) == 200, "a stream to have ended")


@requirement("limits.in-flight")
def test_requests_over_those_of_the_worker_get_503_and_health_is_told_all_the_same(
    probe: Stack,
) -> None:
    arguments = ("--max-in-flight", "2", *METRICS_ON)
    with (
        probe.with_worker(*arguments) as stack,
        session_at(stack.mcp) as first,
        session_at(stack.mcp) as second,
        peer_of(stack.mcp) as third,
    ):
        with first.listen(), second.listen():
            answer = third.ask_modern("probe/say", {"text": "hi"})
            assert is_refused(answer)
            assert (answer.code, answer.final["id"]) == (-32603, None)
            assert third.http.get(stack.http + "/healthz").status_code == 200
            seen = scrape(metrics_of(stack.worker))
            assert seen.value(REFUSALS, reason="in_flight") == 1
        wait_until(lambda: echoed(third) == 200, "a stream to have ended")


@requirement("limits.overload")
@pytest.mark.parametrize("service", ["session", "worker"])
def test_a_process_that_is_behind_with_many_requests_turns_some_away_and_recovers(
    tmp_path: Path, service: str
) -> None:
    behind = ("--shed-above", "0.000001", *METRICS_ON)  # which any process is
    with (
        running_stack(
            tmp_path,
            app=PROBE,
            session_arguments=behind if service == "session" else (),
            worker_arguments=behind if service == "worker" else (),
        ) as stack,
        peer_of(stack.mcp) as peer,
    ):
        with ExitStack() as streams:
            listeners = [streams.enter_context(session_at(stack.mcp)) for _ in range(32)]
            for each in listeners:
                stream = streams.enter_context(each.listen())
                assert stream.response.status_code == 200
            refused = None
            until = time.monotonic() + PATIENCE_SECONDS
            while refused is None and time.monotonic() < until:
                answer = peer.ask_modern("probe/say", {"text": "hi"})
                refused = answer if answer.status != 200 else None
            assert refused is not None
            assert is_refused(refused), refused
            assert "more requests than it can serve" in refused.error["message"]
        wait_until(lambda: all_served(peer), "all to be served")
        check_counted(stack, service)


def all_served(peer: Peer) -> bool:
    """Tell whether nobody is turned away."""
    return {echoed(peer) for _ in range(50)} == {200}


def check_counted(stack: Stack, service: str) -> None:
    """Check that who turned somebody away has counted it."""
    if service == "worker":
        seen = scrape(metrics_of(stack.worker))
        assert sum(seen.value(REFUSALS, reason=each) or 0 for each in ("overloaded", "queue")) >= 1
    else:
        seen = scrape(metrics_of(stack.session))
        assert (seen.value("linkspan_session_refusals_total", reason="BUSY") or 0) >= 1


class Waits(QueueGate):
    """A gate that remembers what it is told."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self.seconds: list[float] = []

    def waited(self, seconds: float, now: float) -> None:
        """Remember it."""
        self.seconds.append(seconds)
        super().waited(seconds, now)


def test_it_is_told_how_long_a_request_waited_to_be_begun_and_not_how_long_it_takes(
    probe: Stack,
) -> None:
    async def main() -> None:
        waits = Waits()
        sessions = SessionClient(probe.grpc, retry_for_seconds=5.0, queue=waits)

        def send(message: dict[str, Any]) -> Answer:
            return sessions.post(
                None,
                Principal(),
                json.dumps(message),
                headers=list(modern_headers(message).items()),
                single_answer=False,
                batch=False,
                routing_key="",
                timeout_seconds=PATIENCE_SECONDS,
            )

        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not waits.seconds:  # the first calls may go before there is a tunnel
                    assert await send(modern("probe/say", {"text": "hi"})).next() is not None
                told = len(waits.seconds)
                holding = send(modern("probe/hold", {"name": "how long it waited"}))
                while len(waits.seconds) == told:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0)
                assert holding.take() is Nothing.YET  # it was begun, and is not done
        finally:
            await sessions.close()
        assert len(waits.seconds) == told + 1
        assert all(0 < each < PATIENCE_SECONDS for each in waits.seconds)

    asyncio.run(main())


@requirement("http.deep-json")
def test_a_message_that_is_nested_as_deeply_as_it_may_be_is_served_and_a_deeper_one_is_400(
    probe: Stack,
) -> None:
    def status(levels: int) -> int:
        inner: object = "x"
        for _ in range(levels - 2):  # the message and its params
            inner = [inner]
        message = modern("probe/say", {"text": "hi", "more": inner})
        assert json.dumps(message).count("[") == levels - 2
        with peer_of(probe.mcp) as peer:
            return peer.post(message, headers=modern_headers(message)).status

    assert [status(levels) for levels in (64, 65, 500)] == [200, 400, 400]
