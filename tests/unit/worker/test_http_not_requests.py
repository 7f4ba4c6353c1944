"""HTTP/1.1 over real sockets: what is no request, or too much of one, and how that ends."""

import asyncio
from collections.abc import Iterable
from typing import Final

import pytest
from tests.requirements import requirement
from tests.unit.worker.raw_http import (
    CHUNKED,
    GET,
    PROMPTLY_SECONDS,
    SMUGGLED,
    Client,
    Held,
    Reads,
    echo,
    exchanged,
    get,
    serving,
    split,
)

from linkspan_worker.http import HttpExchange
from linkspan_worker.http.connection import MAX_HEAD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01", id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"hello\r\n\r\n", id="words"),
        pytest.param(b"get / HTTP/1.1\r\nhost: here\r\n\r\n", id="a method in lower case"),
        pytest.param(b"GET / HTTP/1.2\r\nhost: here\r\n\r\n", id="an unknown version"),
        pytest.param(get("/").replace(b"\r\n", b"\n"), id="bare line feeds"),
        pytest.param(get("/", "a: b\0c"), id="NUL in a header"),
        pytest.param(get("/", "a: b\rc"), id="CR in a header"),
        pytest.param(get("/", "a: b", " c"), id="a folded header"),
        pytest.param(get("/", "a : b"), id="space before a colon"),
        pytest.param(get("/", ": b"), id="a header without a name"),
        pytest.param(get("/a b"), id="space in the target"),
        pytest.param(
            get("/", "content-length: 5", "transfer-encoding: chunked") + b"0\r\n\r\n",
            id="a length, and chunks",
        ),
        pytest.param(
            get("/", "transfer-encoding: chunked", "content-length: 5") + b"0\r\n\r\n",
            id="chunks, and a length",
        ),
        pytest.param(get("/", "content-length: 5", "content-length: 5") + b"hello", id="2 lengths"),
        pytest.param(get("/", "content-length: 5, 5") + b"hello", id="two lengths in one"),
        pytest.param(get("/", "content-length: +5") + b"hello", id="a length with a sign"),
        pytest.param(get("/", "content-length: 5x") + b"hello", id="a length with a letter"),
        pytest.param(get("/", f"content-length: {1 << 70}") + b"hello", id="no length at all"),
        pytest.param(get("/", "transfer-encoding : chunked") + b"0\r\n\r\n", id="chunks, hidden"),
        pytest.param(
            get("/", "transfer-encoding: chunked, gzip") + b"0\r\n\r\n", id="chunks, then packed"
        ),
        pytest.param(
            get("/", "transfer-encoding: chunked", "transfer-encoding: identity") + b"0\r\n\r\n",
            id="chunks, and not",
        ),
    ],
)
def test_what_is_not_a_request_gets_400_and_no_second_chance(request_bytes: bytes) -> None:
    async def application(exchange: HttpExchange) -> None:
        raise AssertionError(exchange.path)

    lines, body = split(exchanged(request_bytes + SMUGGLED, application))
    assert lines[0] == "HTTP/1.1 400 Bad Request"
    assert "connection: close" in lines
    assert body == b"this is not HTTP/1.1\n"


BAD_FRAMES: Final = [
    pytest.param(b"-1\r\n\r\n", id="less than nothing"),
    pytest.param(b"0x1\r\na\r\n0\r\n\r\n", id="a prefix"),
    pytest.param(b"1 \r\na\r\n0\r\n\r\n", id="space"),
    pytest.param(b"f" * 18 + b"\r\na\r\n0\r\n\r\n", id="too much to count"),
    pytest.param(b"1\na\r\n0\r\n\r\n", id="bare line feed"),
    pytest.param(b"1\r\nab\r\n0\r\n\r\n", id="more than announced"),
    pytest.param(b"\r\n0\r\n\r\n", id="nothing"),
]


@pytest.mark.parametrize("frames", BAD_FRAMES)
def test_a_broken_frame_that_comes_with_its_head_gets_400(frames: bytes) -> None:
    reads = Reads()
    raw = exchanged(CHUNKED + frames + SMUGGLED, reads)
    assert raw.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert raw.count(b"HTTP/1.1 ") == 1
    assert "/smuggled" not in reads.paths


@pytest.mark.parametrize("frames", BAD_FRAMES)
def test_a_broken_frame_fails_who_reads_the_body_and_ends_the_connection(frames: bytes) -> None:
    async def scene() -> None:
        reads = Reads()
        async with serving(reads) as running:
            client = await running.client()
            await client.send(CHUNKED)
            await reads.reading.wait()
            await client.send(frames + SMUGGLED)
            async with asyncio.timeout(PROMPTLY_SECONDS):
                raw = await client.rest()
            assert b" 200 " not in raw
            await running.without_clients()
            assert reads.failed
        assert reads.paths == ["/"]

    asyncio.run(scene())


@pytest.mark.parametrize("ahead", [1, 2])
def test_requests_before_one_that_is_none_are_answered(ahead: int) -> None:
    raw = exchanged(get("/") * ahead + b"\0")
    assert raw.count(b"HTTP/1.1 200 OK") == ahead


def test_a_request_is_answered_whatever_follows_it_on_a_connection_it_closes() -> None:
    raw = exchanged(get("/1", "connection: close") + get("/2"))
    assert raw.count(b"HTTP/1.1") == 1
    assert split(raw)[1] == b"GET /1 "


def test_what_follows_the_request_that_runs_does_not_harm_it() -> None:
    async def scene() -> None:
        held = Held()

        async def application(exchange: HttpExchange) -> None:
            await (echo if exchange.path == "/other" else held)(exchange)

        async with serving(application) as running:
            client = await running.client()
            await client.send(GET)
            await held.arrived.wait()
            await client.send(b"\0")
            await running.ask(get("/other"))  # by then, what was sent before has been read
            held.released.set()
            response = await client.response()
            assert response.body == b"held"
            assert response.headers["connection"] == "close"
            assert await client.rest() == b""

    asyncio.run(scene())


async def refusal_of(client: Client, pieces: Iterable[bytes]) -> int:
    for piece in pieces:
        await client.send(piece)
    async with asyncio.timeout(PROMPTLY_SECONDS):
        response = await client.response()
    assert response.headers["connection"] == "close"
    return response.status


def test_a_head_may_be_just_as_long_as_it_may() -> None:
    async def scene() -> None:
        async with serving(echo) as running:
            room = MAX_HEAD_BYTES - len("/" + "host" + "here" + "long")
            client = await running.client()
            await client.send(get("/", "long: " + "a" * room))
            assert (await client.response()).status == 200
            # Nothing follows that is not read, so that the refusal is not lost to a reset.
            unfinished = get("/", "long: " + "a" * (room + 1)).removesuffix(b"\r\n") + b"x"
            assert await refusal_of(client, [unfinished]) == 431

    asyncio.run(scene())


@requirement("http.long-target")
def test_a_target_may_be_just_as_long_as_it_may_and_one_that_is_longer_gets_414() -> None:
    async def scene() -> None:
        async with serving(echo) as running:
            room = MAX_TARGET_BYTES - len("/")
            client = await running.client()
            await client.send(get("/" + "a" * room))
            assert (await client.response()).status == 200
            # In pieces, as one that does not end would come.
            pieces = [b"GET /" + b"a" * (room // 2), b"a" * (room - room // 2 + 1)]
            assert await refusal_of(client, pieces) == 414

    asyncio.run(scene())


@requirement("http.many-headers")
def test_there_may_be_just_as_many_headers_as_there_may_and_one_more_gets_431() -> None:
    async def scene() -> None:
        async with serving(echo) as running:
            others = [f"x-{number}: 1" for number in range(MAX_HEADERS - len(["host"]))]
            client = await running.client()
            await client.send(get("/", *others))
            assert (await client.response()).status == 200
            # Nothing follows that is not read, so that the refusal is not lost to a reset.
            unfinished = get("/", *others, "one-more: 1").removesuffix(b"\r\n") + b"x"
            assert await refusal_of(client, [unfinished]) == 431

    asyncio.run(scene())


def test_a_header_that_does_not_end_ends_the_connection() -> None:
    async def scene() -> None:
        async with serving(echo) as running:
            client = await running.client()
            await client.send(b"GET / HTTP/1.1\r\nlong: ")
            sending = asyncio.ensure_future(client.send(b"a" * MAX_HEAD_BYTES * 200))
            await asyncio.wait(
                [sending, asyncio.ensure_future(client.reader.read())], timeout=PROMPTLY_SECONDS
            )
            sending.cancel()
            assert client.reader.at_eof() or client.reader.exception() is not None

    asyncio.run(scene())


def test_trailers_count_as_much_as_headers() -> None:
    async def scene() -> None:
        reads = Reads()
        async with serving(reads) as running:
            client = await running.client()
            await client.send(CHUNKED + b"1\r\na\r\n0\r\n")
            await reads.reading.wait()
            await client.send((b"long: " + b"a" * 1000 + b"\r\n") * 100)
            async with asyncio.timeout(PROMPTLY_SECONDS):
                await running.without_clients()
            assert reads.failed

    asyncio.run(scene())
