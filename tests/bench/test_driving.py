"""Clients are kept busy for as long as asked; what goes wrong ends all, and is told."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from bench.compare.driving import drive
from bench.compare.framing import FramingError
from bench.compare.lines import Answer, Line, connected

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

REQUEST = b"POST / HTTP/1.1\r\n\r\n"


class Plain:
    """Takes any answer."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def begin(self) -> bytes:
        return REQUEST

    def go_on(self, answer: Answer) -> bytes | None:
        self.bodies.append(answer.body)
        return None


class Twofold(Plain):
    """Asks twice each time."""

    def go_on(self, answer: Answer) -> bytes | None:
        super().go_on(answer)
        return REQUEST if len(self.bodies) % 2 else None


class Picky(Plain):
    """Takes one answer, and no second one."""

    def go_on(self, answer: Answer) -> bytes | None:
        super().go_on(answer)
        if len(self.bodies) > 1:
            raise ValueError("wrong")
        return None


@asynccontextmanager
async def serving(*pieces: bytes) -> AsyncGenerator[str]:
    """Serve the same answer to each request, one piece at a time."""
    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if not pieces:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    await asyncio.gather(*filter(None, serving))


LENGTH = (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef",)
IN_PIECES = (b"HTTP/1.1 200 OK\r\nConte", b"nt-Length: 6\r\n\r", b"\nabc", b"def")
CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    b"3\r\nd",
    b"ef\r\n0\r\n\r",
    b"\n",
)


@pytest.mark.parametrize("pieces", [LENGTH, IN_PIECES, CHUNKS])
def test_an_answer_is_read_piece_by_piece(pieces: tuple[bytes, ...]) -> None:
    line, answers = Line(), list[Answer]()
    line.answered = answers.append
    for _ in range(2):
        for piece in pieces:
            line.data_received(piece)
    assert [answer.body for answer in answers] == [b"abcdef"] * 2


def test_an_answer_that_nobody_can_read_is_told_to_whoever_waits() -> None:
    line, errors = Line(), list[Exception]()
    line.broke = errors.append
    line.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
    assert [type(error) for error in errors] == [FramingError]


@pytest.mark.parametrize("pieces", [LENGTH, IN_PIECES, CHUNKS])
def test_an_answer_is_whole_however_it_comes(pieces: tuple[bytes, ...]) -> None:
    async def run() -> None:
        scripts = [Plain() for _ in range(3)]
        async with serving(*pieces) as url, connected([url], 3) as lines:
            driven = await drive(list(zip(lines, scripts, strict=True)), times=30)
        assert driven.done == 30
        assert [body for each in scripts for body in each.bodies] == [b"abcdef"] * 30

    asyncio.run(run())


def test_what_is_begun_in_time_counts_and_nothing_else() -> None:
    async def run() -> None:
        async with serving(*LENGTH) as url, connected([url], 2) as lines:
            driven = await drive([(line, Plain()) for line in lines], seconds=0.5)
        assert driven.done > 2
        assert driven.seconds >= 0.5
        assert sum(driven.latencies) <= 2 * driven.seconds

    asyncio.run(run())


def test_a_script_of_two_requests_is_one_thing_done() -> None:
    async def run() -> None:
        script = Twofold()
        async with serving(*LENGTH) as url, connected([url], 1) as (line,):
            driven = await drive([(line, script)], times=5)
        assert driven.done == 5
        assert len(script.bodies) == 10

    asyncio.run(run())


def test_a_wrong_answer_ends_all() -> None:
    async def run() -> None:
        async with serving(*LENGTH) as url, connected([url], 2) as (one, other):
            with pytest.raises(ValueError, match="wrong"):
                await drive([(one, Plain()), (other, Picky())], seconds=5)

    asyncio.run(run())


def test_a_connection_that_breaks_ends_all() -> None:
    async def run() -> None:
        async with serving() as url, connected([url], 1) as (line,):
            with pytest.raises(ConnectionError):
                await drive([(line, Plain())], seconds=5)

    asyncio.run(run())


def test_connections_are_spread_over_addresses() -> None:
    async def run() -> list[bytes]:
        first, second = answering(b"1"), answering(b"2")
        async with (
            serving(first) as one,
            serving(second) as other,
            connected([one, other], 4) as lines,
        ):
            return [(await line.ask(REQUEST)).body for line in lines]

    assert asyncio.run(run()) == [b"1", b"2", b"1", b"2"]


def answering(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
