"""One HTTP request and its answer, over ASGI: bounded reading, headers that every answer has.

Source: ASGI HTTP spec 2.4.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

from linkspan_traces.errors import BadRequestError, TooLargeError

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

STALL_SECONDS: Final = 30.0
"""How long a client may send nothing of its request, or take nothing of its answer."""

_MAX_QUERY_CHARS: Final = 4096
_MAX_QUERY_FIELDS: Final = 32

_SAFE: Final = (
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
)


class ClientGoneError(Exception):
    """The client went away, or takes nothing; there is nobody to answer."""


class Exchange:
    """One request being answered."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send_piece = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._query: str = scope["query_string"].decode("latin-1")
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.begun = False
        """Whether the head of the answer has been sent."""

    def header(self, name: str) -> str | None:
        """Return the first value of a header, by its lower-case name."""
        wanted = name.encode()
        for each, value in self._headers:
            if each == wanted:
                return value.decode("latin-1").strip()
        return None

    def query(self) -> dict[str, str]:
        """Return the parameters of the query; of several with one name the last.

        Raises:
            BadRequestError: It is too long.
        """
        if len(self._query) > _MAX_QUERY_CHARS:
            raise BadRequestError("the query is too long")
        try:
            pairs = parse_qsl(self._query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS)
        except ValueError:
            raise BadRequestError("the query has too many parameters") from None
        return dict(pairs)

    async def body(self, max_bytes: int, grow: Callable[[int], None]) -> bytes:
        """Read the body.

        Args:
            max_bytes: How large it may be.
            grow: Called with the size of each piece; may raise.

        Raises:
            TooLargeError: It is larger.
            ClientGoneError: The client went away before its end, or stalled.
        """
        length = self.header("content-length")
        if length is not None and length.isdigit() and int(length) > max_bytes:
            raise TooLargeError(f"the body is larger than {max_bytes} bytes")
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    message = await self._receive()
            except TimeoutError:
                raise ClientGoneError from None
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            piece: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(piece)
            if size > max_bytes:
                raise TooLargeError(f"the body is larger than {max_bytes} bytes")
            grow(len(piece))
            pieces.append(piece)
        return b"".join(pieces)

    async def gone(self) -> None:
        """Wait until the client has gone; whatever else it sends is ignored."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(
        self,
        status: int,
        body: bytes,
        content_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a whole answer."""
        fields = {"content-type": content_type, "cache-control": "no-store", **(headers or {})}
        if status != HTTPStatus.NOT_MODIFIED:
            fields["content-length"] = str(len(body))
        await self._start(status, fields)
        await self._body(b"" if self.method == "HEAD" else body, more=False)

    async def json(
        self, status: int, value: object, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a JSON answer."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        await self.answer(status, text.encode(), "application/json", headers)

    async def begin_events(self) -> None:
        """Begin an event stream (WHATWG HTML, section 9.2)."""
        await self._start(
            HTTPStatus.OK, {"content-type": "text/event-stream", "cache-control": "no-store"}
        )
        await self._body(b": alive\n\n", more=True)

    async def event(self, name: str, value: object) -> None:
        """Send an event with a JSON value."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        await self._body(f"event: {name}\ndata: {text}\n\n".encode(), more=True)

    async def comment(self) -> None:
        """Show that the stream lives."""
        await self._body(b": alive\n\n", more=True)

    async def end_events(self) -> None:
        """End an event stream."""
        await self._body(b"", more=False)

    async def _start(self, status: int, fields: Mapping[str, str]) -> None:
        self.begun = True
        headers = [*_SAFE, *fields.items()]
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode(), value.encode()) for name, value in headers],
            }
        )

    async def _body(self, data: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await self._send_piece(message)
        except TimeoutError:
            raise ClientGoneError from None
