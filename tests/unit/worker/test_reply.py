"""What goes back over HTTP, as the ASGI messages that a server is handed."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

from linkspan_worker.reply import Reply


class Wire:
    """ASGI's `send`, kept."""

    def __init__(self) -> None:
        self.messages: list[MutableMapping[str, Any]] = []

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.messages.append(message)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])

    @property
    def ended(self) -> bool:
        return not self.messages[-1].get("more_body", False)


def test_json_is_one_body_with_its_length_in_bytes() -> None:
    wire = Wire()
    reply = Reply(wire.send, stall_seconds=5)
    assert reply.status is None
    asyncio.run(reply.json(404, '{"é":"😀"}', [("retry-after", "1")]))
    assert wire.messages[0]["status"] == reply.status == 404
    assert wire.headers == {
        b"content-type": b"application/json",
        b"content-length": str(len('{"é":"😀"}'.encode())).encode(),
        b"retry-after": b"1",
    }
    assert json.loads(wire.body) == {"é": "😀"}
    assert wire.ended


def test_empty_is_a_status_without_a_body() -> None:
    wire = Wire()
    asyncio.run(Reply(wire.send, stall_seconds=5).empty(204, [("allow", "GET")]))
    assert wire.messages[0]["status"] == 204
    assert wire.headers[b"allow"] == b"GET"
    assert wire.body == b""
    assert wire.ended


def test_a_stream_is_events_and_comments_and_has_an_end() -> None:
    async def main(wire: Wire) -> None:
        reply = Reply(wire.send, stall_seconds=5)
        await reply.begin_stream([("mcp-session-id", "s")])
        assert [message["type"] for message in wire.messages] == [
            "http.response.start",
            "http.response.body",  # so that the headers do not wait for the first event
        ]
        await reply.event('{"a":"é\u2028"}')
        await reply.comment()
        assert not wire.ended
        await reply.end_stream()

    wire = Wire()
    asyncio.run(main(wire))
    assert wire.messages[0]["status"] == 200
    assert wire.headers == {
        b"content-type": b"text/event-stream",
        b"cache-control": b"no-cache, no-transform",
        b"x-accel-buffering": b"no",
        b"mcp-session-id": b"s",
    }
    assert wire.body == 'event: message\ndata: {"a":"é\u2028"}\n\n: alive\n\n'.encode()
    assert wire.ended
