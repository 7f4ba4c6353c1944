"""What attacks and fuzzers share: bytes sent as they are, answers read strictly, and who survives.

Nothing here sleeps to be in time: where a server rightly waits for more, a client that gives up sooner
only sees less.
"""

import json
import re
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.support.peer import TIMEOUT_SECONDS, peer_of
from tests.support.processes import ServiceProcess
from tests.support.stack import Stack

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [A-Za-z' -]+")
_FIELD: Final = re.compile(rb"([a-z0-9-]+): ([\t\x20-\x7e]*)")
_CHUNK: Final = re.compile(rb"([0-9a-f]+)\r\n")

_INTERNALS: Final = re.compile(
    r"Traceback|\bFile \"|\.py\b|linkspan_|site-packages|asyncio|\b[A-Z][A-Za-z]+(?:Error|Exception)\b"
    r"|<class|0x[0-9a-f]{6,}|/tmp/|/home/|/usr/|sqlite|sessions\.db|grpc|protobuf",
)
"""What only somebody who looks inside could know: stack traces, paths, classes, modules, stores."""

LET_GROW_BYTES: Final = 96 * 1024 * 1024
"""How much a process may grow by whatever it is sent: what it remembers is bounded, by less."""


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A response, as it was framed.

    Attributes:
        status: Its status.
        fields: Its header fields, each once, in lower case.
        body: Its body without frames.
        whole: Whether all of it came.
    """

    status: int
    fields: dict[str, str]
    body: bytes
    whole: bool = True


def read_responses(raw: bytes, *, with_heads: bool = False) -> list[RawResponse]:
    """Read what came over a connection; fails on anything that is not HTTP to the letter.

    Args:
        raw: All that came.
        with_heads: Whether some may be answers to HEAD, which have a length and no body.
    """
    responses: list[RawResponse] = []
    while raw:
        head, ended, rest = raw.partition(b"\r\n\r\n")
        assert ended, f"a head is cut: {raw[:200]!r}"
        first, *lines = head.split(b"\r\n")
        matched = _STATUS_LINE.fullmatch(first)
        assert matched is not None, f"no status line: {first!r}"
        fields: dict[str, str] = {}
        for line in lines:
            field = _FIELD.fullmatch(line)
            assert field is not None, f"no field: {line!r}"
            assert field[1].decode() not in fields, f"a field comes twice: {line!r}"
            fields[field[1].decode()] = field[2].decode()
        status = int(matched[1])
        body, raw, whole = _body(status, fields, rest, with_heads=with_heads)
        responses.append(RawResponse(status, fields, body, whole))
    return responses


def _body(
    status: int, fields: dict[str, str], rest: bytes, *, with_heads: bool
) -> tuple[bytes, bytes, bool]:
    """Split a body off; returns it, what follows, and whether it was whole."""
    has_length, chunked = "content-length" in fields, "transfer-encoding" in fields
    assert not (has_length and chunked)
    if status in (100, 204):
        assert not has_length
        assert not chunked
        return b"", rest, True
    if with_heads and (not rest or rest.startswith(b"HTTP/1.1 ")):
        return b"", rest, True
    if chunked:
        return _chunks(rest)
    if not has_length:  # an answer to HTTP/1.0
        return rest, b"", True
    length = int(fields["content-length"])
    return rest[:length], rest[length:], len(rest) >= length


def _chunks(rest: bytes) -> tuple[bytes, bytes, bool]:
    body = b""
    while True:
        size = _CHUNK.match(rest)
        if size is None:
            assert b"\r\n" not in rest[:20], f"no chunk: {rest[:40]!r}"
            return body, b"", False
        length, start = int(size[1], 16), size.end()
        piece, ending = rest[start : start + length], rest[start + length : start + length + 2]
        if len(ending) < 2:
            return body + piece, b"", False
        assert ending == b"\r\n"
        rest = rest[start + length + 2 :]
        body += piece
        if length == 0:
            return body, rest, True


def check_told(response: RawResponse) -> None:
    """Check that a response is no fault of ours, tells no internals, and is JSON where it says so."""
    shown = f"{response.status} {response.fields} {response.body[:500]!r}"
    assert response.status < 500, shown
    text = response.body.decode()
    assert_no_internals(text)
    assert_no_internals(" ".join(response.fields.values()))
    if response.whole and text and response.fields.get("content-type") == "application/json":
        check_message(json.loads(text))


def check_message(message: Any) -> None:
    """Check that an answer of the worker is JSON-RPC, or one of its few other documents."""
    if isinstance(message, list):
        for each in message:  # pyright: ignore[reportUnknownVariableType]
            check_message(each)
        return
    if set(message) in ({"error"}, {"status"}) and isinstance(next(iter(message.values())), str):
        return
    assert message["jsonrpc"] == "2.0"
    assert ("result" in message) != ("error" in message) or "method" in message
    if "error" in message:
        error = message["error"]
        assert isinstance(error["code"], int)
        assert error["code"] != -32603, f"a fault of ours: {message}"
        assert isinstance(error["message"], str)


def assert_no_internals(text: str) -> None:
    """Check that a text holds nothing of how it was made."""
    found = _INTERNALS.search(text)
    assert found is None, f"tells internals, {found[0]!r}: {text[:500]!r}"


def sent_raw(address: str, pieces: Sequence[bytes], *, quiet_seconds: float | None = None) -> bytes:
    """Send bytes over a connection of their own, and return all that comes.

    Args:
        address: The worker's, as a URL.
        pieces: What to send, one after the other.
        quiet_seconds: After how long without a byte the client gives up; None waits for the end.
    """
    url = urlsplit(address)
    came = b""
    with socket.create_connection((url.hostname, url.port), TIMEOUT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                connection.sendall(piece)
            if quiet_seconds is not None:
                connection.settimeout(quiet_seconds)
            while data := connection.recv(1 << 16):
                came += data
        except ConnectionError:
            pass  # it was cut off, which is an answer, too
        except TimeoutError:
            assert quiet_seconds is not None, f"no end came after {came[:500]!r}"
    return came


def resident_bytes(process: ServiceProcess) -> int:
    """Return how much memory a process has."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the process has no memory any more")


@contextmanager
def unharmed(stack: Stack, *, grows_bytes: int = LET_GROW_BYTES) -> Generator[None]:
    """Check that a stack outlives the block: no fault is logged, little memory is kept, it serves."""
    processes = (stack.worker, stack.session)
    served(stack)
    before = [(len(process.errors), resident_bytes(process)) for process in processes]
    yield
    served(stack)
    for process, (lines, memory) in zip(processes, before, strict=True):
        assert process.running
        faults = [line for line in process.errors[lines:] if is_fault(line)]
        assert faults == []
        grown = resident_bytes(process) - memory
        assert grown < grows_bytes, f"a process grew by {grown >> 20} MiB"


def is_fault(line: str) -> bool:
    """Tell whether a line of a log is a defect: an error, or what is no line of ours."""
    if not line.startswith('{"time": '):  # such as of gRPC's core, which logs what peers do
        return "Traceback" in line or "Exception ignored" in line
    return json.loads(line)["level"] in ("error", "critical")


def served(stack: Stack) -> None:
    """Check that a client is served as ever, in a session and without one."""
    with peer_of(stack.mcp) as peer:
        assert peer.initialize().status == 200
        assert peer.call("add", a=1, b=2).result["structuredContent"] == {"result": 3}
        arguments = {"name": "add", "arguments": {"a": 3, "b": 4}}
        assert peer.ask_modern("tools/call", arguments).result["structuredContent"] == {"result": 7}
        assert peer.end().status == 200
