"""A collector that takes spans and does nothing with them until it is asked: OTLP over HTTP.

Run as `python -m bench.compare.sink FILE`. Prints a ready line; at the end of its standard input it
prints how many spans there were, and ends. What comes is appended to the file and decoded at the
end, so that receiving costs next to nothing beside what is measured.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp-request
"""

import asyncio
import gzip
import os
import sys
from pathlib import Path
from typing import BinaryIO, Final, cast

import httptools
import uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

# An empty message: all was accepted.
_TAKEN: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
)
_LENGTH_BYTES: Final = 8


class Sink(asyncio.Protocol):
    """One exporter's connection."""

    def __init__(self, spool: BinaryIO) -> None:
        self._spool = spool
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._body: list[bytes] = []
        self._zipped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """See `httptools.HttpRequestParser`."""
        self._body = []
        self._zipped = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """See `httptools.HttpRequestParser`."""
        if name.lower() == b"content-encoding":
            self._zipped = value == b"gzip"

    def on_body(self, body: bytes) -> None:
        """See `httptools.HttpRequestParser`."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """See `httptools.HttpRequestParser`."""
        body = b"".join(self._body)
        if self._zipped:
            body = gzip.decompress(body)
        self._spool.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
        if self._transport is not None:
            self._transport.write(_TAKEN)


def count_spans(spooled: BinaryIO) -> int:
    """Return how many spans are in what was received."""
    number = 0
    while length := spooled.read(_LENGTH_BYTES):
        body = spooled.read(int.from_bytes(length, "big"))
        number += sum(
            len(scope.spans)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
        )
    return number


async def receive(path: Path) -> int:
    """Receive until standard input ends; returns how many spans there were."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            over.set()

    with path.open("wb") as spool:
        server = await loop.create_server(lambda: Sink(spool), "127.0.0.1", 0)
        loop.add_reader(sys.stdin.fileno(), read)
        port = server.sockets[0].getsockname()[1]
        print(f"ready otlp=http://127.0.0.1:{port}", flush=True)
        await over.wait()
        server.close()
    with path.open("rb") as spooled:
        return count_spans(spooled)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(receive(Path(sys.argv[1]))), flush=True)
