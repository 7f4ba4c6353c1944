"""What the endpoint does where its door fails, refuses, or lets somebody in no longer."""

import asyncio
import json
import logging

import pytest
from tests.unit.worker.collecting_wire import CollectingWire
from tests.unit.worker.scripted import ScriptedServer, serving, target_of

from linkspan_contract.envelope import Batch, Envelope
from linkspan_worker import endpoint as endpoint_module
from linkspan_worker.endpoint import McpEndpoint
from linkspan_worker.entry import Door, Entry
from linkspan_worker.failures import Refusal
from linkspan_worker.headers import Headers
from linkspan_worker.request_span import RequestSpan
from linkspan_worker.session_client import Principal, SessionClient

TIMEOUT_SECONDS = 20.0
REFUSED = Entry(Principal(), {}, Refusal(401, -32600, "Unauthorized", "401"))


class BrokenDoor:
    """A door with a mistake in it."""

    ask_again_seconds = 60.0

    async def enter(self, headers: Headers) -> Entry:  # noqa: ARG002
        """Fail."""
        raise ZeroDivisionError

    def permit(self, entry: Entry, message: Envelope | Batch) -> Entry:  # noqa: ARG002
        """Let in."""
        return entry


class ShutDoor(BrokenDoor):
    """A door that lets nobody in."""

    async def enter(self, headers: Headers) -> Entry:  # noqa: ARG002
        """Refuse."""
        return REFUSED


async def ask(server: ScriptedServer, door: Door, *more: tuple[bytes, bytes]) -> CollectingWire:
    """POST a ping at a door."""
    wire = CollectingWire()
    exchange = wire.exchange(
        b'{"jsonrpc":"2.0","id":7,"method":"ping"}',
        (
            (b"content-type", b"application/json"),
            (b"accept", b"application/json, text/event-stream"),
            (b"mcp-session-id", b"s"),
            *more,
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
        door=door,
    )
    try:
        await endpoint(exchange)
    finally:
        await sessions.close()
    return wire


def test_a_door_that_breaks_makes_one_span_and_an_error_with_a_correlation_id(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[int | None] = []

    class Counted(RequestSpan):
        def end(self, status: int | None, content_type: str = "") -> None:
            ended.append(status)
            super().end(status, content_type)

    monkeypatch.setattr(endpoint_module, "RequestSpan", Counted)

    async def main() -> CollectingWire:
        async with serving("A") as (server,):
            return await ask(server, BrokenDoor())

    wire = asyncio.run(main())
    assert wire.status == 500
    error = json.loads(wire.body)["error"]
    assert error["code"] == -32603
    assert error["data"]["correlationId"] in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert ended == [500]


@pytest.mark.parametrize("length", [b"0" * 5000 + b"40", b"9" * 5000])
def test_a_length_of_thousands_of_digits_is_no_reason_to_fail(length: bytes) -> None:
    async def main() -> CollectingWire:
        async with serving("A") as (server,):
            return await ask(server, ShutDoor(), (b"content-length", length))

    assert asyncio.run(main()).status == 401


def test_a_refusal_is_logged_for_debugging_only(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving("A") as (server,):
            await ask(server, ShutDoor())

    caplog.set_level(logging.DEBUG, "linkspan_worker")
    asyncio.run(main())
    (record,) = [each for each in caplog.records if "not let in" in each.message]
    assert record.levelno == logging.DEBUG
