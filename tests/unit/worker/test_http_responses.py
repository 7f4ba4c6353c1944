"""HTTP/1.1 over real sockets: how answers are framed."""

import asyncio
from email.utils import parsedate_to_datetime

import pytest
from tests.unit.worker.raw_http import (
    GET,
    TEXT,
    echo,
    exchanged,
    get,
    serving,
    split,
    streams,
)

from linkspan_worker.http import HttpExchange


def test_a_stream_is_sent_in_chunks_piece_by_piece() -> None:
    async def scene() -> None:
        async with serving(streams(b"one", b"a" * 300)) as running:
            client = await running.client()
            for _ in range(2):
                await client.send(GET)
                response = await client.response()
                assert response.chunks == [b"one", b"a" * 300]
                assert "content-length" not in response.headers

    asyncio.run(scene())


def test_the_head_of_a_stream_is_not_kept_back_until_there_is_a_body() -> None:
    async def scene() -> None:
        released = asyncio.Event()

        async def application(exchange: HttpExchange) -> None:
            exchange.begin(200, TEXT)
            await released.wait()
            exchange.write(b"late")
            exchange.end()

        async with serving(application) as running:
            client = await running.client()
            await client.send(GET)
            assert (await client.head()).status == 200
            released.set()
            assert await client.chunk() == b"late"
            assert await client.chunk() == b""

    asyncio.run(scene())


def test_a_response_says_its_length_and_when_it_was_made() -> None:
    async def scene() -> None:
        async with serving(echo) as running:
            response = await running.ask()
            assert response.headers["content-length"] == str(len(response.body))
            assert response.headers["content-type"] == "text/plain"
            assert response.headers["date"].endswith(" GMT")
            assert parsedate_to_datetime(response.headers["date"]).tzinfo is not None

    asyncio.run(scene())


def test_a_204_has_no_length() -> None:
    async def application(exchange: HttpExchange) -> None:
        exchange.respond(204, (), b"")

    lines, body = split(exchanged(get("/", "connection: close"), application))
    assert lines[0] == "HTTP/1.1 204 No Content"
    assert not [line for line in lines if line.startswith("content-length")]
    assert body == b""


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", "a\r\nset-cookie: b"),
        ("x", "a\nset-cookie: b"),
        ("x", "a\rset-cookie: b"),
        ("x", "a\r\n\r\nHTTP/1.1 200 OK"),
        ("x", "a\0b"),
        ("x\r\nset-cookie: b\r\ny", "a"),
        ("x", "\u2026"),
    ],
)
def test_a_header_that_would_be_more_than_one_is_not_sent(
    name: str,
    value: str,
    streamed: bool,
) -> None:
    async def application(exchange: HttpExchange) -> None:
        if streamed:
            exchange.begin(200, ((name, value),))
            exchange.end()
        else:
            exchange.respond(200, ((name, value),), b"")

    raw = exchanged(GET, application)
    lines, _ = split(raw)
    assert lines[0] == "HTTP/1.1 500 Internal Server Error"
    assert b"set-cookie" not in raw
    assert raw.count(b"HTTP/1.1") == 1


def test_of_very_many_requests_in_one_piece_the_first_are_answered() -> None:
    raw = exchanged(get("/") * 1500)
    assert raw.count(b"HTTP/1.1 200 OK") >= 1000
