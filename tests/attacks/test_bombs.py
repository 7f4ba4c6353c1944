"""Bytes that are little on the wire and much in memory, over HTTP and gRPC."""

import asyncio
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.requirements import requirement
from tests.support.hostile import check_told, read_responses, resident_bytes, sent_raw, unharmed
from tests.support.processes import EVERYTHING, linkspan
from tests.support.stack import Stack

MIB = 1024 * 1024
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
INIT = "/linkspan.session.v1.SessionService/Init"


@requirement("attacks.coding")
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-gzip"])
@pytest.mark.parametrize("size", [1, 100 * MIB], ids=["small", "bomb"])
def test_a_compressed_request_is_refused_and_not_inflated(
    stack: Stack, coding: str, size: int
) -> None:
    body = zlib.compress(b" " * size) if coding == "deflate" else gzip.compress(b" " * size, 9)
    head = (
        b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-encoding: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    )
    with unharmed(stack, grows_bytes=50 * MIB):
        raw = sent_raw(stack.mcp, [head % (coding.encode(), len(body)) + body])
    (response,) = read_responses(raw)
    check_told(response)
    assert response.status == 415
    assert response.fields["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", [b"identity", b"Identity", b""])
def test_no_coding_may_be_named(stack: Stack, coding: bytes) -> None:
    head = (
        b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-encoding: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    )
    (response,) = read_responses(sent_raw(stack.mcp, [head % (coding, len(PING)) + PING]))
    assert b"Mcp-Session-Id is missing" in response.body  # it was read


@requirement("attacks.inflation")
@pytest.mark.parametrize("coding", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_compressed_rpc_is_inflated_no_further_than_a_message_may_be_long(
    tmp_path: Path, coding: grpc.Compression
) -> None:
    async def send(address: str, size: int) -> grpc.aio.AioRpcError:
        options = (("grpc.max_send_message_length", -1),)
        async with grpc.aio.insecure_channel(address, compression=coding, options=options) as to:
            make: Callable[..., Any] = to.unary_unary
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await make(INIT)(bytes(size), timeout=40)
            return raised.value

    arguments = ("session", "--app", EVERYTHING, "--port", "0", "--data", str(tmp_path))
    with linkspan(*arguments) as session:
        address = session.wait_ready()["grpc"]
        before = resident_bytes(session)
        for _ in range(3):
            error = asyncio.run(send(address, 400 * MIB))  # 400 kB on the wire
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        # The limit is 65 MiB, and what was inflated so far may be held twice.
        assert resident_bytes(session) - before < 200 * MIB
        assert session.running
        error = asyncio.run(send(address, 10))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_json_that_nests_without_end_is_refused(stack: Stack) -> None:
    opened = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b'{"a":' * 800_000
    closed = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * 100_000
    closed += b"]" * 100_000 + b"}}"
    head = (
        b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\nconnection: close\r\n\r\n"
    )
    with unharmed(stack):
        for body in (opened, closed):
            (response,) = read_responses(sent_raw(stack.mcp, [head % len(body) + body]))
            check_told(response)
            assert response.status == 400
            assert b"-32700" in response.body
