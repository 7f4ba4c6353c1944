"""A client that speaks MCP over HTTP by hand, so that it can also say what no SDK would.

Synchronous. Every wait is bounded by `TIMEOUT_SECONDS`.
"""

import itertools
import json
import socket
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

TIMEOUT_SECONDS: Final = 30.0

MODERN_VERSION: Final = "2026-07-28"
ENVELOPE: Final[Mapping[str, Any]] = {
    "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "peer", "version": "1"},
}
INITIALIZE: Final[Mapping[str, Any]] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"elicitation": {}, "sampling": {}},
    "clientInfo": {"name": "peer", "version": "1"},
}

Message = dict[str, Any]


def request(method: str, params: Mapping[str, Any] | None = None, *, id: Any = 1) -> Message:  # noqa: A002
    """Write a request."""
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": dict(params or {})}


def notification(method: str, params: Mapping[str, Any] | None = None) -> Message:
    """Write a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": dict(params or {})}


def modern(method: str, params: Mapping[str, Any] | None = None, *, id: Any = 1) -> Message:  # noqa: A002
    """Write a request of MCP 2026-07-28, its envelope included."""
    meta = {**(params or {}).get("_meta", {}), **ENVELOPE}
    return request(method, {**(params or {}), "_meta": meta}, id=id)


def modern_headers(message: Message) -> dict[str, str]:
    """Return the headers that MCP 2026-07-28 has a client repeat of its message."""
    headers = {"mcp-protocol-version": MODERN_VERSION, "mcp-method": message["method"]}
    name = message["params"].get("name", message["params"].get("uri"))
    if isinstance(name, str):
        headers["mcp-name"] = name
    return headers


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read to its end.

    Attributes:
        status: The HTTP status.
        headers: The HTTP headers.
        messages: The JSON-RPC messages in it, one if it is JSON.
        comments: How many comments came with them.
    """

    status: int
    headers: httpx2.Headers
    messages: list[Message]
    comments: int = 0

    @property
    def is_stream(self) -> bool:
        """Whether it was an event stream."""
        return self.headers.get("content-type") == "text/event-stream"

    @property
    def final(self) -> Message:
        """The last message."""
        return self.messages[-1]

    @property
    def result(self) -> Message:
        """The result in the last message, which must be one."""
        assert "result" in self.final, self.messages
        result: Message = self.final["result"]
        return result

    @property
    def error(self) -> Message:
        """The error in the last message, which must be one."""
        assert "error" in self.final, self.messages
        error: Message = self.final["error"]
        return error

    @property
    def code(self) -> int:
        """The code of that error."""
        code: int = self.error["code"]
        return code


class Stream:
    """A response that is being read: its status and headers are there, its events may still come."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.comments = 0
        """How many comments were read so far."""
        self._ahead: deque[Message] = deque()
        self._events = self._read()

    def next(self) -> Message:
        """Wait for the next message; fails the test if the stream ends instead."""
        while not self._ahead:
            self._advance()
        return self._ahead.popleft()

    def comment(self) -> None:
        """Wait for a comment; fails the test if the stream ends instead."""
        before = self.comments
        while self.comments == before:
            self._advance()

    def rest(self) -> Answer:
        """Read to the end."""
        for event in self._events:
            self._keep(event)
        messages = list(self._ahead)
        return Answer(self.response.status_code, self.response.headers, messages, self.comments)

    def _advance(self) -> None:
        for event in self._events:
            self._keep(event)
            return
        raise AssertionError("the stream has ended")

    def _keep(self, event: Message | None) -> None:
        if event is None:
            self.comments += 1
        else:
            self._ahead.append(event)

    def _read(self) -> Iterator[Message | None]:
        """Read events as they come; None is a comment, an event without data is skipped."""
        if self.response.headers.get("content-type") != "text/event-stream":
            body = self.response.read()
            if body:
                yield json.loads(body)
            return
        buffered = b""
        for chunk in self.response.iter_bytes():
            *blocks, buffered = (buffered + chunk).split(b"\n\n")
            for block in blocks:
                if block.startswith(b":"):
                    yield None
                    continue
                fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
                if fields[b"data"]:
                    yield json.loads(fields[b"data"])
        assert buffered == b"", "the stream was cut within an event"


class Peer:
    """A client, in a session or without one."""

    def __init__(self, address: str, *, session_id: str | None = None) -> None:
        """Make a client.

        Args:
            address: The address of `/mcp`.
            session_id: The session that it is in, if it has one.
        """
        self.address = address
        self.session_id = session_id
        self.http = httpx2.Client(timeout=TIMEOUT_SECONDS)
        self._ids = itertools.count(1)

    def initialize(self, **params: Any) -> Answer:
        """Open a session, and be in it if there is one now."""
        answer = self.post(request("initialize", {**INITIALIZE, **params}, id="opening"))
        self.session_id = answer.headers.get("mcp-session-id")
        if self.session_id is not None:
            assert self.post(notification("notifications/initialized")).status == 202
        return answer

    def ask(self, method: str, params: Mapping[str, Any] | None = None, **more: Any) -> Answer:
        """Send a request of the session under a new id."""
        return self.post(request(method, params, id=next(self._ids)), **more)

    def call(self, tool: str, **arguments: Any) -> Answer:
        """Call a tool in the session."""
        return self.ask("tools/call", {"name": tool, "arguments": arguments})

    def ask_modern(self, method: str, params: Mapping[str, Any] | None = None) -> Answer:
        """Send a request of MCP 2026-07-28."""
        message = modern(method, params, id=next(self._ids))
        return self.post(message, headers=modern_headers(message))

    def post(self, message: Message, **more: Any) -> Answer:
        """Send a message and read the answer to its end."""
        with self.stream(message, **more) as stream:
            return stream.rest()

    def end(self) -> Answer:
        """End the session."""
        return self.send("DELETE")

    def send(
        self,
        method: str,
        content: bytes | Iterator[bytes] | None = None,
        *,
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """Send anything; see `headers` of `stream`."""
        sent = self._headers(headers)
        with self.http.stream(method, self.address, content=content, headers=sent) as response:
            return Stream(response).rest()

    @contextmanager
    def stream(
        self, message: Message, *, headers: Mapping[str, str | None] | None = None
    ) -> Generator[Stream]:
        """Send a message and read what comes, as it comes; leaving the block closes the connection.

        Args:
            message: What to post.
            headers: More headers, by lower-case name; None leaves one out that would be sent.
        """
        content = json.dumps(message).encode()
        sent = self._headers(headers)
        with self.http.stream("POST", self.address, content=content, headers=sent) as response:
            yield Stream(response)

    @contextmanager
    def listen(self) -> Generator[Stream]:
        """Open the listening stream of the session."""
        sent = self._headers({"accept": "text/event-stream"})
        with self.http.stream("GET", self.address, headers=sent) as response:
            yield Stream(response)

    def close(self) -> None:
        """Close all connections."""
        self.http.close()

    def _headers(self, more: Mapping[str, str | None] | None) -> list[tuple[bytes, bytes]]:
        headers: dict[str, str | None] = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-session-id": self.session_id,
            **(more or {}),
        }
        return [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in headers.items()
            if value is not None
        ]


@contextmanager
def peer_of(address: str, *, session_id: str | None = None) -> Generator[Peer]:
    """Make a client until the block is left; in the session named, or in none."""
    peer = Peer(address, session_id=session_id)
    try:
        yield peer
    finally:
        peer.close()


@contextmanager
def session_at(address: str, **params: Any) -> Generator[Peer]:
    """Make a client in a session of its own until the block is left."""
    with peer_of(address) as peer:
        answer = peer.initialize(**params)
        assert answer.status == 200, answer
        yield peer


@contextmanager
def sent_by_hand(
    address: str, headers: Mapping[str, str], body: bytes = b""
) -> Generator[socket.socket]:
    """POST over a bare connection, and read nothing; leaving the block closes the connection.

    Args:
        address: The address of `/mcp`.
        headers: What to send beside `host` and `content-type`, the length of the body included.
        body: As much of the body as is to be sent.
    """
    url = urlsplit(address)
    lines = {"host": url.netloc, "content-type": "application/json", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection((url.hostname, url.port), TIMEOUT_SECONDS) as connection:
        connection.sendall(f"POST {url.path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        yield connection
