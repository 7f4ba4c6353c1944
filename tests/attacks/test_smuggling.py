"""Request smuggling: what two servers could read differently is refused by a real worker, and closed.

Each row is sent with a request behind it that must never be seen. Sources: RFC 9112, sections 3.2 (a
target), 5.1 (space before a colon), 5.2 (folded lines), 6.1 and 6.3 (two lengths), 7.1 (chunks), 9.6
(closing) and 11.2 (smuggling).
"""

from typing import Final

import pytest
from tests.requirements import requirement
from tests.support.hostile import check_told, read_responses, sent_raw, unharmed
from tests.support.stack import Stack

PING: Final = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
SMUGGLED: Final = b"DELETE /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
LENGTH: Final = b"content-length: %d" % len(PING)
CHUNKED: Final = b"transfer-encoding: chunked"


def post(*fields: bytes, body: bytes = PING, line: bytes = b"POST /mcp HTTP/1.1") -> bytes:
    head = (b"host: localhost", b"content-type: application/json", *fields)
    return b"\r\n".join((line, *head, b"", body))


def chunks(size: bytes, ending: bytes = b"\r\n", data: bytes = PING) -> bytes:
    return post(CHUNKED, body=size + ending + data + b"\r\n0\r\n\r\n")


SIZE: Final = b"%x" % len(PING)

REFUSED: Final = {
    "CL.TE": post(LENGTH, CHUNKED, body=b"0\r\n\r\n"),
    "TE.CL": post(CHUNKED, b"content-length: 4", body=chunks(SIZE)),
    "two lengths": post(LENGTH, b"content-length: 0"),
    "two equal lengths": post(LENGTH, LENGTH),
    "lengths in a list": post(LENGTH + b", 0"),
    "a length with a plus": post(b"content-length: +%d" % len(PING)),
    "a length with a minus": post(b"content-length: -1"),
    "a length with space in it": post(b"content-length: 4 0"),
    "a length in hex": post(b"content-length: 0x28"),
    "a length in Arabic digits": post("content-length: \u0664\u0660".encode()),
    "a length with an underscore": post(b"content-length: 4_0"),
    "a length that overflows": post(b"content-length: %d" % (2**64 + len(PING))),
    "an empty length": post(b"content-length:"),
    "space before the colon of a length": post(b"content-length : %d" % len(PING)),
    "space before the colon of chunks": post(b"transfer-encoding : chunked"),
    "chunks behind a tab": post(b"\ttransfer-encoding: chunked"),
    "chunks in a folded line": post(b"transfer-encoding:\r\n chunked"),
    "a folded line": post(b"x: a\r\n b", LENGTH),
    "chunks by another name": post(b"transfer-encoding: xchunked"),
    "chunks in quotes": post(b'transfer-encoding: "chunked"'),
    "chunks that are not last": post(b"transfer-encoding: chunked, identity"),
    "chunks, then not": post(CHUNKED, b"transfer-encoding: identity"),
    "chunks behind a vertical tab": post(b"transfer-encoding: \x0bchunked"),
    "a NUL in a value": post(b"x: a\0b", LENGTH),
    "a NUL in a name": post(b"x\0: a", LENGTH),
    "a bare CR in a value": post(b"x: a\rcontent-length: 0", LENGTH),
    "a bare LF in a header": post(b"x: a\ncontent-length: 0", LENGTH),
    "bare LFs": post(LENGTH).replace(b"\r\n", b"\n"),
    "a bare LF behind the request line": post(LENGTH).replace(b"\r\n", b"\n", 1),
    "a header before the first": b"POST /mcp HTTP/1.1\r\n host: localhost\r\n\r\n",
    "a chunk's size with a prefix": chunks(b"0x" + SIZE),
    "a chunk's size with a plus": chunks(b"+" + SIZE),
    "a chunk's size that is negative": chunks(b"-1"),
    "a chunk's size behind space": chunks(b" " + SIZE),
    "a chunk's size before space": chunks(SIZE + b" "),
    "a chunk's size that overflows": chunks(b"1" + b"0" * 16),
    "a chunk's size that wraps around": chunks(b"1" + b"0" * 14 + SIZE),
    "a chunk's size with a bare LF": chunks(SIZE, b"\n"),
    "a chunk's size with a bare CR": chunks(SIZE, b"\r"),
    "a chunk's extension with a bare LF": chunks(SIZE + b";a\nb"),
    "a chunk's extension with a bare CR": chunks(SIZE + b";a\rb"),
    "a chunk that is longer than it says": chunks(b"2"),
    "a chunk without its line end": post(CHUNKED, body=SIZE + b"\r\n" + PING + b"0\r\n\r\n"),
    "a trailer with a NUL": post(CHUNKED, body=SIZE + b"\r\n" + PING + b"\r\n0\r\nx: \0\r\n\r\n"),
    "a version of HTTP that is none": post(LENGTH, line=b"POST /mcp HTTP/1.10"),
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /mcp\r\n\r\n",
    "space in the target": post(LENGTH, line=b"POST /mcp HTTP/1.1 HTTP/1.1"),
    "a tab before the version": post(LENGTH, line=b"POST /mcp\tHTTP/1.1"),
    "a NUL in the target": post(LENGTH, line=b"POST /m\0cp HTTP/1.1"),
    "a method in lower case": post(LENGTH, line=b"post /mcp HTTP/1.1"),
}


@requirement("attacks.smuggling")
@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_in_two_ways_is_400_and_the_end_of_its_connection(
    stack: Stack, name: str
) -> None:
    (response,) = read_responses(sent_raw(stack.mcp, [REFUSED[name] + SMUGGLED]))
    assert response.status == 400
    assert response.fields["connection"] == "close"
    check_told(response)


@requirement("attacks.smuggling")
@pytest.mark.parametrize(
    "name", [each for each in REFUSED if "chunk's size" in each or "a chunk" in each]
)
def test_a_chunk_that_breaks_off_later_ends_the_connection_too(stack: Stack, name: str) -> None:
    head, _, body = REFUSED[name].partition(b"\r\n\r\n")
    came = sent_raw(stack.mcp, [head + b"\r\n\r\n", body + SMUGGLED])
    responses = read_responses(came)
    assert len(responses) <= 1
    assert all(response.status == 400 for response in responses)


NEVER_TWICE: Final = {
    "HTTP/1.0 with chunks": chunks(SIZE).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "a wish for h2c": post(LENGTH, b"upgrade: h2c", b"connection: upgrade, http2-settings"),
    "a wish for h2c, in chunks": chunks(SIZE).replace(
        b"host", b"upgrade: h2c\r\nconnection: upgrade\r\nhost", 1
    ),
    "a wish for a web socket": post(LENGTH, b"upgrade: websocket", b"connection: upgrade"),
    "CONNECT": b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "a closed connection": post(LENGTH, b"connection: close"),
}


@requirement("attacks.smuggling")
@pytest.mark.parametrize("name", NEVER_TWICE)
def test_what_follows_a_request_that_ends_its_connection_is_not_answered(
    stack: Stack, name: str
) -> None:
    (response,) = read_responses(sent_raw(stack.mcp, [NEVER_TWICE[name] + SMUGGLED]))
    assert response.fields["connection"] == "close"
    assert response.status != 200  # /healthz would be
    check_told(response)


@requirement("attacks.host")
@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://evil.example/mcp", "localhost", 421),
        ("http://evil.example:80/mcp", "localhost", 421),
        ("http://localhost@evil.example/mcp", "localhost", 421),
        ("https://evil.example?/mcp", "localhost", 404),
        ("http://localhost/mcp", "evil.example", 400),
        ("http://127.0.0.1:1/mcp", "evil.example", 400),
        ("/mcp", "evil.example", 421),
        ("//evil.example/mcp", "localhost", 404),
        ("/mcp?http://evil.example/", "localhost", 400),
    ],
)
def test_a_target_with_a_host_of_its_own_goes_by_that_host(
    stack: Stack, target: str, host: str, status: int
) -> None:
    request = post(LENGTH, b"connection: close", line=f"POST {target} HTTP/1.1".encode())
    request = request.replace(b"host: localhost", b"host: " + host.encode(), 1)
    (response,) = read_responses(sent_raw(stack.mcp, [request]))
    assert response.status == status
    assert status != 400 or b"Mcp-Session-Id is missing" in response.body  # it was let in


@requirement("attacks.host")
@pytest.mark.parametrize(
    "hosts",
    [
        b"host: localhost\r\nhost: evil.example",
        b"host: evil.example\r\nhost: localhost",
        b"host: localhost\r\nHost: localhost",
        b"x: y",
    ],
)
def test_a_request_has_one_host(stack: Stack, hosts: bytes) -> None:
    request = post(LENGTH, b"connection: close").replace(b"host: localhost", hosts, 1)
    (response,) = read_responses(sent_raw(stack.mcp, [request]))
    assert response.status == 400
    assert b"there must be one Host header" in response.body


def test_http_1_0_needs_no_host(stack: Stack) -> None:
    request = post(LENGTH, line=b"POST /mcp HTTP/1.0").replace(b"host: localhost\r\n", b"", 1)
    (response,) = read_responses(sent_raw(stack.mcp, [request]))
    assert b"Mcp-Session-Id is missing" in response.body


def test_chunks_with_extensions_and_a_trailer_are_read(stack: Stack) -> None:
    body = SIZE + b';a="b;c";d\r\n' + PING + b"\r\n0;x\r\nhost: x\r\nx: y\r\n\r\n"
    request = post(CHUNKED, b"connection: close", body=body)
    (response,) = read_responses(sent_raw(stack.mcp, [request + SMUGGLED]))
    assert response.status == 400
    assert b"Mcp-Session-Id is missing" in response.body  # it was read as far as that


def test_after_all_of_them_the_worker_is_as_it_was(stack: Stack) -> None:
    with unharmed(stack):
        for name in REFUSED:
            sent_raw(stack.mcp, [REFUSED[name]], quiet_seconds=0.05)
