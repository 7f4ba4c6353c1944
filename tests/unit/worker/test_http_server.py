"""The HTTP server over real sockets: its timeouts, clients that leave or take nothing, and its end."""

import asyncio
import logging
import socket
from collections.abc import Callable

import pytest
from tests.unit.worker.raw_http import (
    GET,
    PATIENCE_SECONDS,
    POST_FIVE,
    SHORT_SECONDS,
    SOME_SECONDS,
    TEXT,
    Client,
    Held,
    echo,
    serving,
)

from linkspan_worker.http import ClientGoneError, HttpExchange
from linkspan_worker.http import server as server_module


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have silent connections looked for more often than once a second."""
    monkeypatch.setattr(server_module, "_LOOK_SECONDS", SHORT_SECONDS / 5)


# --- clients that are silent ---------------------------------------------------------------------


def test_a_head_that_does_not_arrive_in_time_is_answered_with_408() -> None:
    async def scene() -> None:
        async with serving(echo, message_seconds=SHORT_SECONDS) as running:
            client = await running.client()
            await client.send(b"GET / HTTP/1.1\r\nhos")
            response = await client.response()
            assert response.status == 408
            assert response.headers["connection"] == "close"
            assert await client.rest() == b""

    asyncio.run(scene())


def test_a_head_cannot_be_drawn_out_by_sending_it_byte_by_byte() -> None:
    async def scene() -> None:
        async with serving(echo, message_seconds=SHORT_SECONDS) as running:
            client = await running.client()
            await client.send(b"GET / HTTP/1.1\r\nslow: ")
            answer = asyncio.ensure_future(client.response())
            while not answer.done():
                client.writer.write(b"a")
                await asyncio.wait([answer], timeout=SHORT_SECONDS / 10)
            assert (await answer).status == 408

    asyncio.run(scene())


def test_a_connection_without_requests_is_closed_after_a_time() -> None:
    async def scene() -> None:
        async with serving(echo, keep_alive_seconds=SOME_SECONDS) as running:
            unused = await running.client()
            used = await running.client()
            await used.send(GET)
            assert (await used.response()).status == 200
            assert await used.rest() == b""
            assert await unused.rest() == b""

    asyncio.run(scene())


def test_the_rest_of_a_body_that_nobody_reads_is_waited_for_no_longer_than_a_head() -> None:
    async def application(exchange: HttpExchange) -> None:
        exchange.respond(413, TEXT, b"too much")

    async def scene() -> None:
        async with serving(application, message_seconds=SOME_SECONDS) as running:
            client = await running.client()
            await client.send(POST_FIVE + b"ab")
            assert (await client.response()).status == 413
            assert await client.rest() == b""  # and no 408: it has been answered

    asyncio.run(scene())


def test_an_answer_may_take_longer_than_any_message() -> None:
    async def scene() -> None:
        held = Held()
        short = SOME_SECONDS
        async with serving(held, message_seconds=short, keep_alive_seconds=short) as running:
            client, unused = await running.client(), await running.client()
            await client.send(GET)
            await held.arrived.wait()
            assert await unused.rest() == b""  # the time is over
            held.released.set()
            assert (await client.response()).body == b"held"

    asyncio.run(scene())


# --- clients that leave --------------------------------------------------------------------------


@pytest.mark.parametrize("request_bytes", [GET, POST_FIVE + b"ab"])
@pytest.mark.parametrize("leave", [Client.leave, Client.break_off])
def test_an_application_is_told_once_that_its_client_has_left(
    leave: Callable[[Client], None], request_bytes: bytes
) -> None:
    async def scene() -> None:
        held = Held()
        async with serving(held) as running:
            client = await running.client()
            await client.send(request_bytes)
            await held.arrived.wait()
            leave(client)
            await held.released.wait()
            await running.without_clients()
        assert held.gone == 1

    asyncio.run(scene())


@pytest.mark.parametrize("request_bytes", [GET, POST_FIVE + b"ab"])
def test_nothing_is_told_of_a_client_that_leaves_with_its_answer(request_bytes: bytes) -> None:
    async def scene() -> None:
        held = Held()
        held.released.set()
        async with serving(held) as running:
            client = await running.client()
            await client.send(request_bytes)
            assert (await client.response()).status == 200
            client.leave()
            await running.without_clients()
        assert held.gone == 0

    asyncio.run(scene())


@pytest.mark.parametrize("sent", [b"", b"ab"])
def test_reading_fails_once_the_client_has_left_before_the_end_of_the_body(sent: bytes) -> None:
    async def scene() -> None:
        reading = asyncio.Event()
        ended: asyncio.Future[HttpExchange] = asyncio.get_running_loop().create_future()

        async def application(exchange: HttpExchange) -> None:
            try:
                if sent:
                    assert await exchange.read() == sent
                reading.set()
                await exchange.read()
            except ClientGoneError:
                ended.set_result(exchange)

        async with serving(application) as running:
            client = await running.client()
            await client.send(POST_FIVE + sent)
            await reading.wait()
            client.leave()
            exchange = await ended
            assert exchange.gone
            with pytest.raises(ClientGoneError):
                await exchange.read()

    asyncio.run(scene())


def test_what_is_written_for_a_client_that_has_left_is_dropped() -> None:
    async def scene() -> None:
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def application(exchange: HttpExchange) -> None:
            gone = asyncio.Event()
            exchange.on_gone = gone.set
            exchange.begin(200, TEXT)
            await gone.wait()
            for _ in range(10):
                exchange.write(b"a" * 100_000)
            await exchange.drain()
            exchange.end()
            written.set_result(exchange.write_paused)

        async with serving(application) as running:
            client = await running.client()
            await client.send(GET)
            await client.head()
            client.leave()
            assert not await written

    asyncio.run(scene())


def test_an_exchange_whose_client_has_left_can_still_be_broken_off() -> None:
    async def scene() -> None:
        broken = asyncio.Event()

        async def application(exchange: HttpExchange) -> None:
            gone = asyncio.Event()
            exchange.on_gone = gone.set
            exchange.begin(200, TEXT)
            await gone.wait()
            await running.without_clients()
            exchange.abort()
            broken.set()

        async with serving(application) as running:
            client = await running.client()
            await client.send(GET)
            await client.head()
            client.leave()
            await broken.wait()

    asyncio.run(scene())


# --- clients that take nothing -------------------------------------------------------------------


def silent_client(address: tuple[str, int], request: bytes) -> socket.socket:
    """Connect and ask, and take as little as the kernel allows."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(address)
    client.sendall(request)
    client.setblocking(False)
    return client


def test_a_writer_learns_that_a_client_takes_nothing_and_when_it_goes_on() -> None:
    async def scene() -> None:
        paused, drained = asyncio.Event(), asyncio.Event()
        total = 0

        async def application(exchange: HttpExchange) -> None:
            nonlocal total
            exchange.begin(200, TEXT)
            while not exchange.write_paused:
                total += 50_000
                exchange.write(b"a" * 50_000)
                await asyncio.sleep(0)
            paused.set()
            await exchange.drain()
            assert not exchange.write_paused
            drained.set()
            exchange.end()

        async with serving(application) as running:
            loop = asyncio.get_running_loop()
            with silent_client(running.address, GET) as client:
                await paused.wait()
                assert not drained.is_set()
                received = b""
                while not received.endswith(b"\r\n0\r\n\r\n"):
                    received += await loop.sock_recv(client, 1 << 20)
                assert drained.is_set()
                assert received.count(b"a" * 50_000) == total // 50_000

    asyncio.run(scene())


def test_breaking_off_resets_the_connection_and_sends_nothing_more() -> None:
    async def scene() -> None:
        broken = asyncio.Event()
        held = 0

        async def application(exchange: HttpExchange) -> None:
            nonlocal held
            exchange.on_gone = broken.set
            exchange.begin(200, TEXT)
            while not exchange.write_paused:
                held += 50_000
                exchange.write(b"a" * 50_000)
                await asyncio.sleep(0)
            exchange.abort()

        async with serving(application) as running:
            loop = asyncio.get_running_loop()
            with silent_client(running.address, GET) as client:
                await broken.wait()
                received: list[int] = []

                async def take_all() -> None:
                    while piece := await loop.sock_recv(client, 1 << 20):
                        received.append(len(piece))

                with pytest.raises(ConnectionResetError):
                    await take_all()
                assert sum(received) < held

    asyncio.run(scene())


def test_a_client_that_takes_nothing_and_leaves_wakes_the_writer() -> None:
    async def scene() -> None:
        paused, drained = asyncio.Event(), asyncio.Event()

        async def application(exchange: HttpExchange) -> None:
            exchange.begin(200, TEXT)
            while not exchange.write_paused:
                exchange.write(b"a" * 50_000)
                await asyncio.sleep(0)
            paused.set()
            await exchange.drain()
            assert exchange.gone
            drained.set()

        async with serving(application) as running:
            with silent_client(running.address, GET):
                await paused.wait()
            await drained.wait()

    asyncio.run(scene())


# --- applications that break ---------------------------------------------------------------------


def test_an_application_that_breaks_before_the_head_is_a_500_and_the_last_on_its_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def application(exchange: HttpExchange) -> None:
        raise RuntimeError("a secret")

    async def scene() -> None:
        async with serving(application) as running:
            client = await running.client()
            await client.send(GET)
            response = await client.response()
            assert response.status == 500
            assert response.headers["connection"] == "close"
            assert b"secret" not in response.body
            assert await client.rest() == b""

    with caplog.at_level(logging.ERROR):
        asyncio.run(scene())
    assert "a secret" in caplog.text


def test_an_application_that_returns_without_an_answer_is_a_500() -> None:
    async def application(exchange: HttpExchange) -> None:
        await exchange.read()

    async def scene() -> None:
        async with serving(application) as running:
            assert (await running.ask()).status == 500

    asyncio.run(scene())


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_stream_that_its_application_leaves_unfinished_is_not_taken_for_complete(
    raises: bool,
    version: bytes,
) -> None:
    async def application(exchange: HttpExchange) -> None:
        exchange.begin(200, TEXT)
        exchange.write(b"half of")
        if raises:
            raise RuntimeError

    async def scene() -> None:
        async with serving(application) as running:
            client = await running.client()
            await client.send(GET.replace(b"1.1", version))
            with pytest.raises(ConnectionResetError):
                await client.rest()

    asyncio.run(scene())


def test_a_request_that_breaks_its_application_leaves_others_alone() -> None:
    async def application(exchange: HttpExchange) -> None:
        if exchange.path == "/broken":
            raise RuntimeError
        await echo(exchange)

    async def scene() -> None:
        async with serving(application) as running:
            client = await running.client()
            await client.send(GET)
            assert (await client.response()).status == 200
            assert (await running.ask(GET.replace(b"/ ", b"/broken "))).status == 500
            await client.send(GET)
            assert (await client.response()).status == 200

    asyncio.run(scene())


# --- the end -------------------------------------------------------------------------------------


def test_draining_closes_what_is_idle_and_accepts_nothing_new() -> None:
    async def scene() -> None:
        async with serving(echo) as running:
            used, unused = await running.client(), await running.client()
            await used.send(GET)
            await used.response()
            await running.server.drain(PATIENCE_SECONDS)
            assert not running.server.connections
            assert await used.rest() == b""
            assert await unused.rest() == b""
            with pytest.raises(ConnectionRefusedError):
                await running.client()

    asyncio.run(scene())


def test_draining_lets_what_runs_finish_and_says_that_the_connection_closes() -> None:
    async def scene() -> None:
        held = Held()
        async with serving(held) as running:
            client = await running.client()
            await client.send(GET)
            await held.arrived.wait()
            draining = asyncio.ensure_future(running.server.drain(PATIENCE_SECONDS))
            assert not (await asyncio.wait([draining], timeout=SHORT_SECONDS))[0]
            held.released.set()
            response = await client.response()
            assert response.body == b"held"
            assert response.headers["connection"] == "close"
            assert await client.rest() == b""
            await draining

    asyncio.run(scene())


def test_draining_lets_a_stream_that_has_begun_finish_and_closes_after_it() -> None:
    async def scene() -> None:
        released = asyncio.Event()

        async def application(exchange: HttpExchange) -> None:
            exchange.begin(200, TEXT)
            await released.wait()
            exchange.write(b"all of it")
            exchange.end()

        async with serving(application) as running:
            client = await running.client()
            await client.send(GET)
            await client.head()
            draining = asyncio.ensure_future(running.server.drain(PATIENCE_SECONDS))
            assert not (await asyncio.wait([draining], timeout=SHORT_SECONDS))[0]
            released.set()
            assert await client.rest() == b"9\r\nall of it\r\n0\r\n\r\n"
            await draining

    asyncio.run(scene())


def test_draining_takes_no_longer_than_it_may_and_closing_breaks_what_is_left() -> None:
    async def scene() -> None:
        held = Held()
        async with serving(held) as running:
            client = await running.client()
            await client.send(GET)
            await held.arrived.wait()
            await running.server.drain(SHORT_SECONDS)
            assert running.server.connections
            assert held.gone == 0
            await running.server.close()
            with pytest.raises(ConnectionResetError):
                await client.rest()
            await running.without_clients()
            assert held.gone == 1

    asyncio.run(scene())


def test_closing_without_draining_stops_accepting_too() -> None:
    async def scene() -> None:
        async with serving(echo) as running:
            await running.server.close()
            with pytest.raises(ConnectionRefusedError):
                await running.client()

    asyncio.run(scene())
