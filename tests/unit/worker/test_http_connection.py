"""HTTP/1.1 over real sockets: in which order answers come, and how bodies of requests are read."""

import asyncio

import pytest
from tests.unit.worker.raw_http import (
    CHUNKED,
    POST_FIVE,
    TEXT,
    Held,
    Reads,
    echo,
    exchanged,
    get,
    serving,
    split,
    streams,
    unsent_bytes,
)

from linkspan_worker.http import HttpExchange
from linkspan_worker.http.exchange import HIGH_WATER_BYTES

# --- one after the other ---------------------------------------------------------------------------


def test_a_connection_serves_one_request_after_the_other() -> None:
    async def scene() -> None:
        async with serving(echo) as running:
            client = await running.client()
            for path in ("/1", "/2", "/3"):
                await client.send(get(path))
                response = await client.response()
                assert response.body == f"GET {path} ".encode()
                assert "connection" not in response.headers
            assert len(running.server.connections) == 1

    asyncio.run(scene())


def test_a_client_that_asks_for_it_gets_its_connection_closed() -> None:
    lines, body = split(exchanged(get("/", "Connection: close")))
    assert "connection: close" in lines
    assert body == b"GET / "


@pytest.mark.parametrize("header", [b"", b"connection: keep-alive\r\n"])
def test_http_1_0_is_answered_once_and_closed(header: bytes) -> None:
    lines, body = split(exchanged(b"GET / HTTP/1.0\r\n" + header + b"\r\n"))
    assert lines[0] == "HTTP/1.1 200 OK"
    assert "connection: close" in lines
    assert body == b"GET / "


def test_a_stream_for_http_1_0_ends_with_the_connection() -> None:
    lines, body = split(exchanged(b"GET / HTTP/1.0\r\n\r\n", streams(b"one", b"two")))
    assert "connection: close" in lines
    assert not [line for line in lines if line.startswith(("transfer-encoding", "content-length"))]
    assert body == b"onetwo"


def test_requests_sent_ahead_are_answered_one_at_a_time_in_their_order() -> None:
    async def scene() -> None:
        running_now = most_at_once = 0

        async def application(exchange: HttpExchange) -> None:
            nonlocal running_now, most_at_once
            running_now += 1
            most_at_once = max(most_at_once, running_now)
            await asyncio.sleep(0)
            await echo(exchange)
            running_now -= 1

        async with serving(application) as running:
            client = await running.client()
            requests = [
                get("/1"),
                POST_FIVE + b"first",
                CHUNKED + b"6\r\nsecond\r\n0\r\n\r\n",
                get("/2"),
            ]
            await client.send(b"".join(requests * 3))
            for _ in range(3):
                for body in (b"GET /1 ", b"POST / first", b"POST / second", b"GET /2 "):
                    assert (await client.response()).body == body
        assert most_at_once == 1

    asyncio.run(scene())


def test_a_client_that_sends_far_ahead_is_read_no_further_until_it_is_answered() -> None:
    async def scene() -> None:
        held = Held()
        requests = 1000
        async with serving(held, receive_buffer_bytes=4096) as running:
            client = await running.client()
            client.have_kernel_hold_little()
            sending = asyncio.ensure_future(
                client.send(get("/", "padding: " + "a" * 4000) * requests)
            )
            await held.arrived.wait()
            assert await unsent_bytes(client) > requests * 4000 - 500_000
            held.released.set()
            for _ in range(requests):
                assert (await client.response()).body == b"held"
            await sending

    asyncio.run(scene())


# --- bodies of requests ----------------------------------------------------------------------------


def test_a_chunked_body_is_read_without_its_frames_and_its_trailer() -> None:
    async def scene() -> None:
        headers: list[tuple[bytes, bytes]] = []

        async def application(exchange: HttpExchange) -> None:
            await echo(exchange)
            headers.extend(exchange.headers)

        async with serving(application) as running:
            client = await running.client()
            frames = (
                b"3;why=not\r\none\r\nA\r\n, two, thr\r\n2\r\nee\r\n0\r\nhost: elsewhere\r\n\r\n"
            )
            for byte in CHUNKED + frames:
                client.writer.write(bytes([byte]))
                await asyncio.sleep(0)
            assert (await client.response()).body == b"POST / one, two, three"
        assert headers == [(b"host", b"here"), (b"transfer-encoding", b"chunked")]

    asyncio.run(scene())


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked_when_the_body_is_read() -> None:
    async def scene() -> None:
        async with serving(echo) as running:
            client = await running.client()
            await client.send(POST_FIVE.replace(b"\r\n\r\n", b"\r\nExpect: 100-Continue\r\n\r\n"))
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(b"hello")
            assert (await client.response()).body == b"POST / hello"

    asyncio.run(scene())


def test_a_client_that_waits_to_be_asked_is_not_asked_by_who_does_not_read() -> None:
    async def application(exchange: HttpExchange) -> None:
        exchange.respond(413, TEXT, b"too much")

    async def scene() -> None:
        async with serving(application) as running:
            client = await running.client()
            await client.send(POST_FIVE.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n"))
            assert (await client.response()).status == 413

    asyncio.run(scene())


def test_a_client_that_has_sent_its_body_unasked_is_not_asked() -> None:
    request = POST_FIVE.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n") + b"hello"
    request = request.replace(b"here\r\n", b"here\r\nconnection: close\r\n")
    assert split(exchanged(request))[0][0] == "HTTP/1.1 200 OK"


def test_http_1_0_is_never_asked_for_its_body() -> None:
    async def scene() -> None:
        reads = Reads()
        async with serving(reads) as running:
            client = await running.client()
            head = POST_FIVE.replace(b"1.1", b"1.0")
            await client.send(head.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n"))
            await reads.reading.wait()
            await client.send(b"hello")
            assert (await client.response()).body == b"POST / hello"

    asyncio.run(scene())


@pytest.mark.parametrize("reads", [0, 1])
def test_an_answer_may_come_before_the_end_of_the_body_and_the_connection_goes_on(
    reads: int,
) -> None:
    async def application(exchange: HttpExchange) -> None:
        if exchange.method == "GET":
            await echo(exchange)
            return
        for _ in range(reads):
            await exchange.read()
        exchange.respond(413, TEXT, b"too much")

    async def scene() -> None:
        async with serving(application) as running:
            client = await running.client()
            length = 1 << 20
            await client.send(POST_FIVE.replace(b"5", b"%d" % length) + b"a" * 1000)
            assert (await client.response()).status == 413
            await client.send(b"a" * (length - 1000) + get("/next"))
            assert (await client.response()).body == b"GET /next "

    asyncio.run(scene())


def test_a_body_is_held_up_until_it_is_read_and_then_comes_whole() -> None:
    async def scene() -> None:
        arrived, released = asyncio.Event(), asyncio.Event()
        length = 8 << 20

        async def application(exchange: HttpExchange) -> None:
            arrived.set()
            await released.wait()
            size = 0
            while piece := await exchange.read():
                assert set(piece) == set(b"a")
                size += len(piece)
            exchange.respond(200, TEXT, b"%d" % size)

        async with serving(application, receive_buffer_bytes=4096) as running:
            client = await running.client()
            client.have_kernel_hold_little()
            sending = asyncio.ensure_future(
                client.send(POST_FIVE.replace(b"5", b"%d" % length) + b"a" * length)
            )
            await arrived.wait()
            assert await unsent_bytes(client) > length - HIGH_WATER_BYTES - 500_000
            released.set()
            assert (await client.response()).body == b"%d" % length
            await sending

    asyncio.run(scene())
