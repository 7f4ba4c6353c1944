"""HTTP/1.1 over real sockets: what is a request, in which order answers come, how they are framed."""

import asyncio
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import Final

import pytest
from tests.requirements import requirement
from tests.unit.worker.raw_http import (
    GET,
    POST_FIVE,
    TEXT,
    Application,
    Client,
    Held,
    echo,
    serving,
    unsent_bytes,
)

from linkspan_worker.http import ClientGoneError, HttpExchange
from linkspan_worker.http.connection import MAX_HEAD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES
from linkspan_worker.http.exchange import HIGH_WATER_BYTES

CHUNKED: Final = b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\nhost: here\r\n\r\n"


def get(path: str, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in ("host: here", *headers))
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def exchanged(request: bytes, application: Application = echo) -> bytes:
    """Send bytes, and return all that comes back until the server closes."""

    async def scene() -> bytes:
        async with serving(application) as running:
            client = await running.client()
            await client.send(request)
            return await client.rest()

    return asyncio.run(scene())


def split(raw: bytes) -> tuple[list[str], bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), body


# --- one after the other -------------------------------------------------------------------------


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


# --- bodies of requests --------------------------------------------------------------------------


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


# --- targets and methods -------------------------------------------------------------------------


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
            async with asyncio.timeout(1):
                assert await client.rest() == b""

    asyncio.run(scene())


def test_what_was_sent_ahead_of_a_wish_for_another_protocol_is_answered_too() -> None:
    raw = exchanged(get("/1") + get("/2") + upgraded(body=False))
    assert raw.count(b"HTTP/1.1 200 OK") == 3


# --- what is not a request -----------------------------------------------------------------------


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


class Reads:
    """An application that reads bodies, and notes what became of that."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.reading = asyncio.Event()
        self.failed = False

    async def __call__(self, exchange: HttpExchange) -> None:
        self.paths.append(exchange.path)
        self.reading.set()
        try:
            await echo(exchange)
        except ClientGoneError:
            self.failed = True


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
            async with asyncio.timeout(1):
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
    async with asyncio.timeout(1):
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

    asyncio.run(scene())


def test_a_header_that_does_not_end_ends_the_connection() -> None:
    async def scene() -> None:
        async with serving(echo) as running:
            client = await running.client()
            await client.send(b"GET / HTTP/1.1\r\nlong: ")
            sending = asyncio.ensure_future(client.send(b"a" * MAX_HEAD_BYTES * 200))
            await asyncio.wait([sending, asyncio.ensure_future(client.reader.read())], timeout=2)
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
            async with asyncio.timeout(1):
                await running.without_clients()
            assert reads.failed

    asyncio.run(scene())


# --- responses -----------------------------------------------------------------------------------


def streams(*pieces: bytes) -> Application:
    async def application(exchange: HttpExchange) -> None:
        exchange.begin(200, TEXT)
        for piece in pieces:
            exchange.write(piece)
        exchange.end()

    return application


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
