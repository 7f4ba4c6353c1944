"""What goes back over HTTP, as the bytes that leave."""

import asyncio
import json

import pytest
from tests.unit.worker.collecting_wire import CollectingWire

from linkspan_worker.reply import ReaderStalledError, Reply


def test_json_is_one_body_with_its_length_in_bytes() -> None:
    wire = CollectingWire()
    reply = Reply(wire.exchange(), stall_seconds=5)
    assert reply.status is None
    asyncio.run(reply.json(404, '{"é":"😀"}', [("retry-after", "1")]))
    assert wire.status == reply.status == 404
    assert wire.headers == {
        "content-type": "application/json",
        "content-length": str(len('{"é":"😀"}'.encode())),
        "retry-after": "1",
    }
    assert json.loads(wire.body) == {"é": "😀"}
    assert wire.over


def test_empty_is_a_status_without_a_body() -> None:
    wire = CollectingWire()
    asyncio.run(Reply(wire.exchange(), stall_seconds=5).empty(204, [("allow", "GET")]))
    assert wire.status == 204
    assert wire.headers == {"allow": "GET"}
    assert wire.body == b""
    assert wire.over


def test_a_stream_is_events_and_comments_and_has_an_end() -> None:
    async def main(wire: CollectingWire) -> None:
        reply = Reply(wire.exchange(), stall_seconds=5)
        await reply.begin_stream([("mcp-session-id", "s")])
        assert wire.status == 200, "the headers do not wait for the first event"
        await reply.event('{"a":"é\u2028"}')
        await reply.comment()
        assert not wire.over
        await reply.end_stream()

    wire = CollectingWire()
    asyncio.run(main(wire))
    assert wire.headers == {
        "content-type": "text/event-stream",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "mcp-session-id": "s",
        "transfer-encoding": "chunked",
    }
    assert wire.body == 'event: message\ndata: {"a":"é\u2028"}\n\n: alive\n\n'.encode()
    assert wire.over


def test_a_client_that_takes_nothing_is_cut_off() -> None:
    class StuckWire(CollectingWire):
        async def drain(self) -> None:
            await asyncio.Event().wait()

    async def main(wire: CollectingWire) -> None:
        wire.write_paused = True
        reply = Reply(wire.exchange(), stall_seconds=0.01)
        await reply.begin_stream()
        with pytest.raises(ReaderStalledError):
            await reply.event("{}")
        assert reply.ended

    wire = StuckWire()
    asyncio.run(main(wire))
    assert wire.aborted


def test_a_header_cannot_be_smuggled_into_a_response() -> None:
    wire = CollectingWire()
    with pytest.raises(ValueError, match="no header may hold"):
        asyncio.run(Reply(wire.exchange(), stall_seconds=5).json(200, "{}", [("x", "a\nb: c")]))
    assert not wire.written
