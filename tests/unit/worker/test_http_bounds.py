"""How much the HTTP server takes on, over real sockets: connections, requests, patience."""

import asyncio
import socket
from contextlib import ExitStack, suppress
from typing import Final

import pytest
from tests.requirements import requirement
from tests.unit.worker.raw_http import (
    GET,
    LONG_SECONDS,
    POST_FIVE,
    SHORT_SECONDS,
    SOME_SECONDS,
    TEXT,
    Application,
    Client,
    Held,
    Running,
    echo,
    serving,
)

from linkspan_contract.limits import MAX_MESSAGE_BYTES
from linkspan_process.overload import LEAST_RUNNING
from linkspan_worker.arrival import Arrival, body_ends_at, judge
from linkspan_worker.headers import Headers
from linkspan_worker.http import HttpBounds, HttpExchange
from linkspan_worker.http import connection as connection_module
from linkspan_worker.http import server as server_module
from linkspan_worker.http.connection import MAX_DROPPED_BYTES
from linkspan_worker.http.places import Places
from linkspan_worker.proxies import TrustedProxies
from linkspan_worker.shedding import Shedding

MIB: Final = 1024 * 1024
POST_MANY: Final = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 1000000000\r\n\r\n"


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have silent connections looked for more often than once a second."""
    monkeypatch.setattr(server_module, "_LOOK_SECONDS", SHORT_SECONDS / 5)


# --- connections ---------------------------------------------------------------------------------


@requirement("limits.connections")
def test_a_connection_too_many_gets_503_and_the_others_are_served() -> None:
    async def scene() -> None:
        async with serving(echo, bounds=HttpBounds(max_connections=2)) as running:
            first, second = await running.client(), await running.client()
            for client in (first, second):
                await client.send(GET)
                assert (await client.response()).status == 200
            refused = await running.client()
            response = await refused.response()
            assert (response.status, response.headers["connection"]) == (503, "close")
            assert await refused.rest() == b""
            assert len(running.server.connections) == 2
            first.leave()
            while len(running.server.connections) > 1:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)
            assert (await running.ask()).status == 200
            await second.send(GET)
            assert (await second.response()).status == 200

    asyncio.run(scene())


async def served(client: Client) -> bool:
    """Tell whether a client is answered; if not, check that it was told so and let go of."""
    with suppress(ConnectionError):  # by then it may have been refused
        await client.send(GET)
    response = await client.response()
    if response.status == 200:
        return True
    assert (response.status, response.headers["connection"]) == (503, "close")
    assert b"from your address" in response.body
    assert await client.rest() == b""
    return False


@requirement("limits.connections-per-address")
def test_an_address_that_holds_its_connections_gets_503_and_others_are_served() -> None:
    async def scene() -> None:
        places = Places(2)
        async with serving(echo, bounds=HttpBounds(places=places)) as running:
            held = [await running.client() for _ in range(2)]
            assert all([await served(each) for each in held])
            for _ in range(3):
                assert not await served(await running.client())
            others = [await running.client(source="127.0.0.2") for _ in range(3)]
            assert [await served(each) for each in others] == [True, True, False]
            assert (len(running.server.connections), len(places)) == (4, 2)
            held[0].leave()
            while len(running.server.connections) > 3:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)
            again = await running.client()
            assert await served(again)
            assert not await served(await running.client())
            for each in (held[1], again, *others):
                each.leave()
            await running.without_clients()
            assert len(places) == 0

    asyncio.run(scene())


@requirement("limits.connections-per-address")
def test_a_trusted_proxy_holds_as_many_connections_as_there_may_be() -> None:
    async def scene() -> None:
        proxies = TrustedProxies(["127.0.0.2/32"])
        bounds = HttpBounds(max_connections=4, places=Places(1, proxies.trusts))
        async with serving(echo, bounds=bounds) as running:
            through = [await running.client(source="127.0.0.2") for _ in range(3)]
            assert all([await served(each) for each in through])
            assert await served(await running.client())
            refused = await running.client(source="127.0.0.2")
            assert b"too many connections; try again" in (await refused.response()).body

    asyncio.run(scene())


# --- requests ------------------------------------------------------------------------------------


async def fill(running: Running, count: int) -> list[Client]:
    """Have so many requests be under way."""
    clients = [await running.client() for _ in range(count)]
    for client in clients:
        await client.send(GET)
    while running.server.running < count:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    return clients


def shedding(max_in_flight: int = 10_000, shed_above_seconds: float = 1000.0) -> HttpBounds:
    """Make bounds of which only what is named matters; within a running loop."""
    shed = Shedding(
        max_in_flight=max_in_flight, shed_above_seconds=shed_above_seconds, paths=("/",)
    )
    return HttpBounds(shed=shed)


@requirement("limits.in-flight")
def test_requests_over_those_that_may_be_answered_at_once_get_503_at_once() -> None:
    async def scene() -> None:
        held = Held()
        async with serving(held, bounds=shedding(max_in_flight=3)) as running:
            clients = await fill(running, 3)
            client = await running.client()
            for _ in range(2):  # the connection goes on
                await client.send(POST_FIVE + b"abcde")
                response = await client.response()
                assert (response.status, response.headers["retry-after"]) == (503, "1")
                assert b'"id":null' in response.body
                assert b'"code":-32603' in response.body
            held.released.set()
            for each in clients:
                assert (await each.response()).status == 200
            await client.send(GET)
            assert (await client.response()).status == 200

    asyncio.run(scene())


@requirement("limits.in-flight")
def test_a_request_whose_whole_answer_is_out_takes_no_place_though_work_is_left_behind_it() -> None:
    async def scene() -> None:
        finished = asyncio.Event()

        async def application(exchange: HttpExchange) -> None:
            exchange.respond(200, TEXT, b"done")
            await finished.wait()

        async with serving(application, bounds=shedding(max_in_flight=1)) as running:
            client = await running.client()
            for _ in range(3):
                await client.send(GET)
                assert (await client.response()).status == 200
            assert running.server.running == 0
            finished.set()

    asyncio.run(scene())


def test_other_paths_are_served_however_many_requests_there_are() -> None:
    async def scene() -> None:
        held = Held()

        async def application(exchange: HttpExchange) -> None:
            await (echo if exchange.path == "/healthz" else held)(exchange)

        async with serving(application, bounds=shedding(max_in_flight=3)) as running:
            health = b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n"
            await fill(running, 3)
            assert (await running.ask(health)).status == 200
            assert (await running.ask()).status == 503
            held.released.set()

    asyncio.run(scene())


@requirement("limits.overload")
def test_a_loop_that_stays_behind_with_many_requests_turns_others_away_and_begins_none_of_them() -> (
    None
):
    async def scene() -> None:
        held = Held()
        # Any loop is that much behind.
        async with serving(held, bounds=shedding(shed_above_seconds=1e-9)) as running:
            await fill(running, LEAST_RUNNING)
            statuses: set[int] = set()
            while 503 not in statuses:
                client, before = await running.client(), running.server.running
                await client.send(GET)
                answer = asyncio.ensure_future(client.response())
                while not answer.done() and running.server.running == before:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                if running.server.running == before:
                    statuses.add((await answer).status)
            held.released.set()

    asyncio.run(scene())


def test_with_few_requests_nobody_is_turned_away_however_far_behind_the_loop_is() -> None:
    async def scene() -> None:
        held = Held()
        async with serving(held, bounds=shedding(shed_above_seconds=1e-9)) as running:
            clients = await fill(running, LEAST_RUNNING - 1)
            for client in clients:  # they wait behind what runs
                await client.send(GET * 3)
            held.released.set()
            for client in clients:
                for _ in range(4):
                    assert (await client.response()).status == 200

    asyncio.run(scene())


# --- what is refused before its body has come ----------------------------------------------------


def judging(judged: list[Arrival], stall_seconds: float = LONG_SECONDS) -> Application:
    """Make an application that judges a request, and answers it."""

    async def application(exchange: HttpExchange) -> None:
        arrival = await judge(exchange, Headers(exchange.headers), stall_seconds)
        judged.append(arrival)
        status = 200 if arrival.refused is None else arrival.refused.refusal.status
        exchange.respond(status, TEXT, b"judged")

    return application


JSON_HEAD: Final = (
    b"POST / HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
    b"accept: application/json, text/event-stream\r\n"
)


@requirement("http.refused-body")
def test_a_refusal_before_a_body_that_is_too_long_to_drop_ends_the_connection() -> None:
    async def scene() -> None:
        async with serving(judging([])) as running:
            client = await running.client()
            await client.send(POST_MANY)
            response = await client.response()
            assert (response.status, response.headers["connection"]) == (415, "close")
            assert await client.rest() == b""

    asyncio.run(scene())


@requirement("http.refused-body")
def test_of_a_body_of_unknown_length_that_was_refused_no_more_is_dropped_than_may_be() -> None:
    async def scene() -> None:
        async with serving(judging([])) as running:
            client = await running.client()
            await client.send(
                b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            response = await client.response()
            assert response.status == 415
            assert "connection" not in response.headers
            chunk = b"%x\r\n%b\r\n" % (MIB, b"a" * MIB)
            for _ in range(MAX_DROPPED_BYTES // MIB):
                await client.send(chunk)
            await client.send(b"0\r\n\r\n")
            await client.send(GET)
            assert (await client.response()).status == 400  # in no session; but it was read
            await client.send(
                b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            await client.response()
            for _ in range(MAX_DROPPED_BYTES // MIB):
                await client.send(chunk)
            client.writer.write(chunk)
            await running.without_clients()

    asyncio.run(scene())


def test_a_refusal_before_a_short_body_leaves_the_connection_open() -> None:
    async def scene() -> None:
        async with serving(judging([])) as running:
            client = await running.client()
            for _ in range(2):
                await client.send(POST_FIVE)
                response = await client.response()
                assert response.status == 415
                assert "connection" not in response.headers
                await client.send(b"abcde")

    asyncio.run(scene())


@requirement("http.refused-body")
def test_a_client_that_sends_on_after_its_last_answer_is_heard_out_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gets no reset, which might cost it the answer."""
    monkeypatch.setattr(connection_module, "_LINGER_SECONDS", LONG_SECONDS)

    async def scene() -> None:
        async with serving(judging([])) as running:
            client = await running.client()
            await client.send(POST_MANY)
            for _ in range(8):  # half of what it is heard out for
                await client.send(b"a" * (MIB // 16))
            response = await client.response()
            assert response.status == 415
            assert await client.rest() == b""  # an end, and no reset
            (connection,) = running.server.connections
            assert connection.closing_since is not None
            client.leave()
            await running.without_clients()

    asyncio.run(scene())


@requirement("http.refused-body")
def test_a_client_that_sends_on_and_on_is_heard_out_no_further_than_a_mib(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "_LINGER_SECONDS", LONG_SECONDS)
    sent = 0

    async def scene() -> None:
        nonlocal sent
        async with serving(judging([])) as running:
            client = await running.client()
            await client.send(POST_MANY)
            assert (await client.response()).status == 415

            async def send_on() -> None:
                nonlocal sent
                while True:
                    await client.send(b"a" * (MIB // 16))
                    sent += MIB // 16

            with pytest.raises(ConnectionError):
                await send_on()
            await running.without_clients()

    asyncio.run(scene())
    assert sent > MIB // 2


@requirement("http.refused-body")
def test_a_client_that_says_nothing_after_its_last_answer_is_left_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "_LINGER_SECONDS", SHORT_SECONDS)

    async def scene() -> None:
        async with serving(judging([])) as running:
            client = await running.client()
            await client.send(POST_MANY)
            assert (await client.response()).status == 415
            await running.without_clients()

    asyncio.run(scene())


# --- clients that are slow -----------------------------------------------------------------------


@requirement("http.slow-body")
def test_a_body_that_drips_gets_408_though_each_piece_comes_in_time() -> None:
    async def scene() -> None:
        judged: list[Arrival] = []
        async with serving(judging(judged, stall_seconds=SOME_SECONDS)) as running:
            client = await running.client()
            await client.send(JSON_HEAD + b"content-length: 100000\r\n\r\n")
            answer = asyncio.ensure_future(client.response())
            while not answer.done():
                client.writer.write(b" ")
                await asyncio.wait([answer], timeout=SOME_SECONDS / 20)
            response = await answer
            assert (response.status, response.headers["connection"]) == (408, "close")

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("now", "received_bytes", "ends_at"),
    [
        (100.0, 0, 130.0),
        (120.0, 1, 130.0 + 1 / 4096),
        (120.0, 4096 * 25, 150.0),  # no piece may take longer than the first
        (120.0, 4096 * 5, 135.0),
        (1000.0, 4096 * 1000, 1030.0),
    ],
)
def test_what_has_come_of_a_body_buys_time_for_the_rest(
    now: float, received_bytes: int, ends_at: float
) -> None:
    assert body_ends_at(100.0, now, received_bytes, 30.0) == ends_at


def test_a_chunked_body_is_read_no_further_than_it_may_be_long() -> None:
    async def scene() -> None:
        judged: list[Arrival] = []
        async with serving(judging(judged)) as running:
            client = await running.client()
            await client.send(JSON_HEAD + b"transfer-encoding: chunked\r\n\r\n")
            chunk = b"%x\r\n%b\r\n" % (MIB // 4, b" " * (MIB // 4))
            for _ in range(MAX_MESSAGE_BYTES // (MIB // 4) + 1):
                client.writer.write(chunk)
            response = await client.response()
            assert response.status == 413

    asyncio.run(scene())


@requirement("limits.last-answer")
@pytest.mark.parametrize("closes", [True, False], ids=["asked to close", "idle"])
def test_a_client_that_takes_nothing_of_its_last_answer_is_cut_off(closes: bool) -> None:
    async def application(exchange: HttpExchange) -> None:
        exchange.begin(200, TEXT)
        while not exchange.write_paused:
            exchange.write(b"a" * 50_000)
            await asyncio.sleep(0)
        exchange.end()  # and nobody waits until it is taken

    async def scene() -> None:
        async with serving(
            application, message_seconds=SHORT_SECONDS, keep_alive_seconds=SHORT_SECONDS
        ) as running:
            with ExitStack() as stack:
                client = stack.enter_context(socket.socket())
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(running.address)
                close = b"connection: close\r\n" if closes else b""
                client.sendall(b"GET / HTTP/1.1\r\nhost: here\r\n" + close + b"\r\n")
                while not running.server.connections:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0)
                await running.without_clients()

    asyncio.run(scene())
