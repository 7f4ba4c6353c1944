"""HTTP/1.1 over real sockets: what a request asks for, and what it asks beside that."""

import asyncio

import pytest
from tests.unit.worker.raw_http import (
    GET,
    PROMPTLY_SECONDS,
    TEXT,
    echo,
    exchanged,
    get,
    serving,
    split,
    streams,
)

from linkspan_worker.http import HttpExchange


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/mcp", "/mcp"),
        ("/mcp?a=/b", "/mcp"),
        ("/mcp#a", "/mcp"),
        ("/%6Dcp%20%c3%a4?%20", "/mcp ä"),
        ("/a%2Fb", "/a/b"),
        ("/%zz%", "/%zz%"),
        ("//elsewhere/mcp", "//elsewhere/mcp"),
        ("http://elsewhere:80/m%63p?a", "/mcp"),
        ("http://elsewhere", ""),
    ],
)
def test_the_path_of_a_target_is_decoded_and_has_no_query(target: str, path: str) -> None:
    raw = exchanged(get(target, "connection: close"))
    assert split(raw)[1].decode() == f"GET {path} "


def test_options_of_the_server_itself_are_asked_with_an_asterisk() -> None:
    raw = exchanged(b"OPTIONS * HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
    assert split(raw)[1] == b"OPTIONS * "


def test_a_response_to_head_has_the_length_of_its_body_and_no_body() -> None:
    async def scene() -> None:
        async with serving(echo) as running:
            client = await running.client()
            await client.send(b"HEAD / HTTP/1.1\r\nhost: here\r\n\r\n")
            response = await client.head()
            assert response.headers["content-length"] == str(len(b"HEAD / "))
            await client.send(get("/next"))
            assert (await client.response()).body == b"GET /next "

    asyncio.run(scene())


def test_a_stream_in_response_to_head_has_no_body() -> None:
    async def application(exchange: HttpExchange) -> None:
        if exchange.method == "HEAD":
            await streams(b"one")(exchange)
        else:
            await echo(exchange)

    async def scene() -> None:
        async with serving(application) as running:
            client = await running.client()
            await client.send(b"HEAD / HTTP/1.1\r\nhost: here\r\n\r\n")
            assert (await client.head()).status == 200
            await client.send(get("/next"))
            assert (await client.response()).body == b"GET /next "

    asyncio.run(scene())


def test_names_of_headers_come_in_lower_case_and_values_as_they_are() -> None:
    async def application(exchange: HttpExchange) -> None:
        shown = b"|".join(b"%b=%b" % header for header in exchange.headers)
        exchange.respond(200, TEXT, shown)

    raw = exchanged(get("/", "X-One:  A b ", "x-one: \xe4", "Connection: close"), application)
    assert split(raw)[1] == b"host=here|x-one=A b|x-one=\xe4|connection=close"


def test_both_ends_of_the_connection_are_known() -> None:
    async def scene() -> None:
        ends: list[object] = []

        async def application(exchange: HttpExchange) -> None:
            ends.extend((exchange.client, exchange.server))
            await echo(exchange)

        async with serving(application) as running:
            client = await running.client()
            await client.send(GET)
            await client.response()
            assert ends == [client.writer.get_extra_info("sockname"), running.address]

    asyncio.run(scene())


def upgraded(*, body: bool) -> bytes:
    fields = b"connection: upgrade\r\nupgrade: h2c\r\n"
    if body:
        return b"POST / HTTP/1.1\r\nhost: here\r\n" + fields + b"content-length: 5\r\n\r\n"
    return b"GET / HTTP/1.1\r\nhost: here\r\n" + fields + b"\r\n"


def test_a_wish_for_another_protocol_does_not_lose_the_body_of_its_request() -> None:
    raw = exchanged(upgraded(body=True) + b"hello")
    assert split(raw)[1] == b"POST / hello"


def test_a_wish_for_another_protocol_is_answered_in_http_1_1() -> None:
    lines, body = split(exchanged(upgraded(body=False)))
    assert lines[0] == "HTTP/1.1 200 OK"
    assert "connection: close" in lines  # what follows could be of that other protocol
    assert body == b"GET / "


def test_a_wish_for_another_protocol_closes_after_a_body_that_comes_later_too() -> None:
    async def scene() -> None:
        arrived = asyncio.Event()

        async def application(exchange: HttpExchange) -> None:
            arrived.set()
            await echo(exchange)

        async with serving(application) as running:
            client = await running.client()
            await client.send(upgraded(body=True))
            await arrived.wait()
            await client.send(b"hello")
            response = await client.response()
            assert response.body == b"POST / hello"
            assert response.headers["connection"] == "close"
            async with asyncio.timeout(PROMPTLY_SECONDS):
                assert await client.rest() == b""

    asyncio.run(scene())


def test_what_was_sent_ahead_of_a_wish_for_another_protocol_is_answered_too() -> None:
    raw = exchanged(get("/1") + get("/2") + upgraded(body=False))
    assert raw.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("/", "here"),
        ("/http://x/", "here"),
        ("http://there:1/a?b", "there:1"),
        ("HTTP://a@b@[::1]?/@c", "[::1]"),
    ],
)
def test_a_target_in_absolute_form_says_which_host_is_meant(target: str, host: str) -> None:
    async def application(exchange: HttpExchange) -> None:
        hosts = [value for name, value in exchange.headers if name == b"host"]
        exchange.respond(200, TEXT, b"|".join(hosts))

    raw = exchanged(get(target, "host: twice", "connection: close"), application)
    expected = f"{host}|twice" if host == "here" else host
    assert split(raw)[1].decode() == expected
