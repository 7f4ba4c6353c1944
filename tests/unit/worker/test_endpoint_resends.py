"""What an HTTP client sees when its session server is lost: nothing, or one end that it can use."""

import asyncio
import json
from typing import Final

import grpc
from tests.unit.worker.collecting_wire import CollectingWire
from tests.unit.worker.scripted import (
    ScriptedServer,
    aborts,
    note,
    opened,
    refuses,
    result,
    says,
    serving,
    target_of,
)

from linkspan.session.v1.session_service_pb2 import ErrorReason
from linkspan_worker.endpoint import McpEndpoint
from linkspan_worker.session_client import SessionClient

UNAVAILABLE: Final = grpc.StatusCode.UNAVAILABLE
TIMEOUT_SECONDS: Final = 20.0
ANSWER: Final = '{"jsonrpc":"2.0","id":1,"result":{}}'
NOTE: Final = '{"jsonrpc":"2.0","method":"notifications/message"}'


class Answered(CollectingWire):
    """What was answered to one HTTP request."""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def events(self) -> list[str]:
        """The event stream, event by event."""
        return [event for event in self.text.split("\n\n") if event]


async def call_tool(server: ScriptedServer, *, session: str = "s") -> Answered:
    """POST a request of a session to a worker before this server alone."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t"}}
    answered = Answered()
    exchange = answered.exchange(
        json.dumps(body).encode(),
        (
            (b"content-type", b"application/json"),
            (b"accept", b"application/json, text/event-stream"),
            (b"mcp-session-id", session.encode()),
        ),
    )
    sessions = SessionClient(target_of(server), retry_for_seconds=0.2)
    endpoint = McpEndpoint(
        sessions,
        request_timeout_seconds=TIMEOUT_SECONDS,
        listen_timeout_seconds=TIMEOUT_SECONDS,
        comment_every_seconds=TIMEOUT_SECONDS,
        stall_seconds=TIMEOUT_SECONDS,
        routing_header="",
        loopback_only=False,
        allowed_origins=frozenset(),
    )
    try:
        await endpoint(exchange)
    finally:
        await sessions.close()
    return answered


def test_a_stream_goes_on_as_one_response_and_is_primed_once() -> None:
    async def main() -> None:
        async with serving("A") as (a,):
            a.script.append(aborts(UNAVAILABLE, opened("e0"), note(NOTE, "e1")))
            a.script.append(says(opened("e2"), result(ANSWER, "e3")))
            exchange = await call_tool(a)
            assert exchange.status == 200
            assert exchange.events == [
                "id: e0\nretry: 5\ndata: ",
                f"event: message\nid: e1\ndata: {NOTE}",
                f"event: message\nid: e3\ndata: {ANSWER}",
            ]

    asyncio.run(main())


def test_a_stream_that_cannot_go_on_ends_if_its_client_can_resume_it() -> None:
    async def main() -> None:
        draining = refuses(ErrorReason.ERROR_REASON_DRAINING)
        async with serving("A") as (a,):
            a.script.extend([aborts(UNAVAILABLE, opened("e0")), *[draining] * 50])
            exchange = await call_tool(a)
            assert exchange.events == ["id: e0\nretry: 5\ndata: "]

    asyncio.run(main())


def test_a_stream_that_cannot_go_on_ends_with_an_error_if_its_client_cannot_resume_it() -> None:
    async def main() -> None:
        async with serving("A") as (a,):
            a.script.append(aborts(UNAVAILABLE, opened(), note(NOTE)))
            exchange = await call_tool(a)
            assert len(exchange.events) == 2
            error = json.loads(exchange.events[1].partition("data: ")[2])
            assert (error["id"], error["error"]["code"]) == (1, -32000), "it may have run"

    asyncio.run(main())


def test_each_request_has_a_key_of_its_own_that_its_sends_share() -> None:
    async def main() -> None:
        async with serving("A") as (a,):
            for _ in range(2):
                a.script.extend([aborts(UNAVAILABLE), says(result(ANSWER))])
                assert (await call_tool(a)).text == ANSWER
            keys = [request.attempt.key for request in a.requests]
            assert keys[0] == keys[1] != keys[2] == keys[3]
            assert all(len(key) >= 22 for key in keys)

    asyncio.run(main())


def test_a_session_with_too_many_requests_says_when_to_come_back() -> None:
    async def main() -> None:
        async with serving("A") as (a,):
            a.script.append(refuses(ErrorReason.ERROR_REASON_TOO_MANY_REQUESTS))
            exchange = await call_tool(a)
            assert (exchange.status, exchange.headers["retry-after"]) == (429, "1")

    asyncio.run(main())
