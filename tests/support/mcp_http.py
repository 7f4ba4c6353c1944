"""MCP over plain HTTP, for tests that look at what no SDK client shows: headers, events, ids."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

JsonObject = dict[str, Any]

BOTH = "application/json, text/event-stream"


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event of a stream.

    Attributes:
        id: Its id; empty if it has none.
        data: What it says; empty for a priming event.
        retry_millis: How long to wait before coming back; None if it does not say.
    """

    id: str
    data: str
    retry_millis: int | None

    @property
    def json(self) -> JsonObject:
        """The JSON-RPC message in it."""
        message: JsonObject = httpx2.Response(200, text=self.data).json()
        return message


def events_of(response: httpx2.Response) -> Iterator[SseEvent]:
    """Read the events of a response as they come; comments are left out."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if not line:
            if fields:
                retry = fields.get("retry")
                yield SseEvent(
                    fields.get("id", ""), fields.get("data", ""), int(retry) if retry else None
                )
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")


class HttpSession:
    """A session of the handshake era, by hand."""

    def __init__(self, http: httpx2.Client, address: str, session_id: str, version: str) -> None:
        self.http = http
        self.address = address
        self.session_id = session_id
        self.version = version

    @property
    def headers(self) -> dict[str, str]:
        """What every request of the session carries."""
        return {
            "mcp-session-id": self.session_id,
            "mcp-protocol-version": self.version,
            "accept": BOTH,
        }

    def post(self, message: JsonObject | list[JsonObject], **headers: str) -> httpx2.Response:
        """Post a message and read the whole answer."""
        return self.http.post(self.address, json=message, headers={**self.headers, **headers})

    @contextmanager
    def stream(self, message: JsonObject) -> Generator[Iterator[SseEvent]]:
        """Post a message whose answer is a stream; leaving the block breaks the connection."""
        with self.http.stream("POST", self.address, json=message, headers=self.headers) as response:
            assert response.headers["content-type"] == "text/event-stream", response.read()
            yield events_of(response)

    @contextmanager
    def listen(self, last_event_id: str | None = None) -> Generator[Iterator[SseEvent]]:
        """Open a listening stream, or go on behind an event."""
        resume = {} if last_event_id is None else {"last-event-id": last_event_id}
        headers = {**self.headers, "accept": "text/event-stream", **resume}
        with self.http.stream("GET", self.address, headers=headers) as response:
            assert response.status_code == 200, response.read()
            yield events_of(response)


def call(tool: str, arguments: JsonObject | None = None, **more: Any) -> JsonObject:
    """Write a tool call with id 1 and a progress token."""
    params = {"name": tool, "arguments": arguments or {}, "_meta": {"progressToken": "p"}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params, **more}


@contextmanager
def http_session(
    address: str, version: str = "2025-11-25", capabilities: JsonObject | None = None
) -> Generator[HttpSession]:
    """Open a session by hand; it is left to itself at the end."""
    with httpx2.Client(timeout=30) as http:
        params = {
            "protocolVersion": version,
            "capabilities": capabilities or {},
            "clientInfo": {"name": "by-hand", "version": "1"},
        }
        message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        response = http.post(address, json=message, headers={"accept": BOTH})
        assert response.status_code == 200, response.text
        session = HttpSession(http, address, response.headers["mcp-session-id"], version)
        initialized = session.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert initialized.status_code == 202
        yield session
