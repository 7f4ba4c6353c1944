"""Whatever bytes a client sends: HTTP comes back or the connection ends, and others are served."""

import asyncio
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from hypothesis import strategies as st
from tests.fuzz.conftest import TRIED
from tests.fuzz.exploring import explore
from tests.requirements import requirement
from tests.support.hostile import check_told, read_responses, unharmed
from tests.support.peer import INITIALIZE, modern, modern_headers, request
from tests.support.stack import Stack

QUIET_SECONDS: Final = 0.15
"""After how long without an answer a client leaves: the server may rightly wait for more."""

Pieces: TypeAlias = list[bytes]


def written(
    method: str, target: str, body: bytes = b"", *fields: tuple[str, str], chunked: bool = False
) -> bytes:
    """Write a request."""
    framing = ("transfer-encoding", "chunked") if chunked else ("content-length", str(len(body)))
    lines = [("host", "localhost"), *fields, framing]
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + framed


JSON: Final = ("content-type", "application/json")
BOTH: Final = ("accept", "application/json, text/event-stream")
CALL: Final = modern("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
COUNT: Final = modern(
    "tools/call", {"name": "count", "arguments": {"to": 2, "every_seconds": 0.001}}
)
BASES: Final = (
    written("POST", "/mcp", json.dumps(request("initialize", INITIALIZE)).encode(), JSON, BOTH),
    written("POST", "/mcp", json.dumps(CALL).encode(), JSON, BOTH, *modern_headers(CALL).items()),
    written(
        "POST",
        "/mcp",
        json.dumps(COUNT).encode(),
        JSON,
        BOTH,
        *modern_headers(COUNT).items(),
        chunked=True,
    ),
    written("POST", "/mcp", b'{"jsonrpc":"2.0","id":1,"method":"ping"}', JSON, chunked=True),
    written("GET", "/mcp", b"", ("accept", "text/event-stream"), ("mcp-session-id", "x")),
    written("DELETE", "/mcp/", b"", ("mcp-session-id", "x" * 32)),
    written("OPTIONS", "/mcp", b"", ("origin", "http://localhost")),
    written("HEAD", "/healthz"),
    written("GET", "http://localhost/healthz?a#b"),
)
PARTS: Final = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"%00",
    b"\xff",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding: gzip, chunked\r\n",
    b"Content-Length: 5\r\n",
    b"content-length: 99999999999999999999\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"connection: upgrade\r\nupgrade: h2c\r\n",
    b"Host: evil.example\r\n",
    b"Origin: null\r\n",
    b"mcp-protocol-version: 2026-07-28\r\n",
    b"mcp-session-id: \xe4\r\n",
    b"content-encoding: gzip\r\n",
    b"traceparent: 00-x\r\n",
    b"authorization: Bearer \r\n",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"HTTP/1.1\r\n",
    b"POST",
    b"CONNECT",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"1;a=b\r\n",
    b"-1\r\n",
    b"x: " + b"a" * 70_000,
    b"a:\r\n" * 3000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01",
)

Edit: TypeAlias = Callable[[bytes], bytes]
PLACES: Final = st.floats(0, 1, exclude_max=True)


def _insert(place: float, part: bytes) -> Edit:
    return lambda data: data[: (at := int(place * len(data)))] + part + data[at:]


def _cut(place: float, length: int) -> Edit:
    return lambda data: data[: (at := int(place * len(data)))] + data[at + length :]


def _end(place: float) -> Edit:
    return lambda data: data[: int(place * len(data))]


def _replace(place: float, byte: int) -> Edit:
    return lambda data: data[: (at := int(place * len(data)))] + bytes([byte]) + data[at + 1 :]


def _swap_line(index: int, other: int) -> Edit:
    def edit(data: bytes) -> bytes:
        lines = data.split(b"\r\n")
        one, two = index % len(lines), other % len(lines)
        lines[one], lines[two] = lines[two], lines[one]
        return b"\r\n".join(lines)

    return edit


EDITS: Final = st.one_of(
    st.builds(_insert, PLACES, st.one_of(st.sampled_from(PARTS), st.binary(max_size=4))),
    st.builds(_cut, PLACES, st.integers(1, 30)),
    st.builds(_replace, PLACES, st.integers(0, 255)),
    st.builds(_end, PLACES),
    st.builds(_swap_line, st.integers(0, 20), st.integers(0, 20)),
)


def _made(bases: Sequence[bytes], edits: Sequence[Edit], cuts: Sequence[float]) -> Pieces:
    data = b"".join(bases)
    for edit in edits:
        data = edit(data)
    places = [0, *sorted(int(cut * len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(places)]
    return [piece for piece in pieces if piece]


CONNECTIONS: Final = st.builds(
    _made,
    st.lists(st.sampled_from(BASES), min_size=1, max_size=3),
    st.lists(EDITS, max_size=4),
    st.lists(PLACES, max_size=3),
)
SEVERAL: Final = st.lists(
    st.tuples(
        st.one_of(CONNECTIONS, st.lists(st.binary(max_size=60))),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=8,
)
"""Connections at the same time: what is sent on each, and whether its end is half-closed then."""


async def _exchange(host: str, port: int, pieces: Pieces, half_close: bool) -> tuple[bytes, bool]:
    """Send pieces; returns what came, and whether the server ended the connection by itself."""
    reader, writer = await asyncio.open_connection(host, port)
    came, ended = b"", False
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if half_close:
            writer.write_eof()
        while True:
            async with asyncio.timeout(QUIET_SECONDS):
                data = await reader.read(1 << 16)
            came += data
            if not data:
                ended = not half_close  # which a server may take for the client's end
                break
    except TimeoutError:
        pass
    except OSError:
        came, ended = b"", False  # what was on its way is lost with a reset
    finally:
        writer.transport.abort()
    return came, ended


def _check(came: bytes, ended: bool, sent: bytes) -> None:
    responses = read_responses(came, with_heads=b"HEAD" in sent)
    for number, response in enumerate(responses):
        check_told(response)
        assert response.whole or number == len(responses) - 1
        assert response.whole or not ended, f"cut off: {response}"


@requirement("fuzz.http")
def test_a_worker_outlives_any_bytes(
    target: Stack, record_property: Callable[[str, object], None]
) -> None:
    url = urlsplit(target.http)
    host, port = url.hostname or "", url.port or 0

    def check(connections: list[tuple[Pieces, bool]]) -> int:
        async def run() -> None:
            exchanged = await asyncio.gather(
                *(_exchange(host, port, *connection) for connection in connections)
            )
            for (pieces, _), (came, ended) in zip(connections, exchanged, strict=True):
                try:
                    _check(came, ended, b"".join(pieces))
                except AssertionError as error:
                    error.add_note(f"sent: {str(pieces)[:3000]}")
                    raise

        asyncio.run(run())
        return len(connections)

    with unharmed(target):
        record_property(TRIED, explore(SEVERAL, check, examples=60))
