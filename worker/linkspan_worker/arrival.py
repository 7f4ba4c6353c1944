"""A request to `/mcp` as far as it can be read and judged without asking anybody.

Above lies `endpoint`, which answers it; below lie `admission` (what it is, or why it is refused) and
`http`. Invariant: what is refused, or cannot be read, is an arrival like any other, for its span and
its answer are made of one.
"""

import asyncio
from typing import Final, NamedTuple

from linkspan_contract.envelope import Batch, Envelope, Request, RequestId
from linkspan_contract.limits import MAX_MESSAGE_BYTES
from linkspan_worker.admission import (
    Post,
    RefusedError,
    admit_end,
    admit_listen,
    admit_post,
    check_post_headers,
    method_not_allowed,
    read_body,
    too_large,
    too_slow,
)
from linkspan_worker.entry import Entry
from linkspan_worker.failures import Refusal
from linkspan_worker.headers import ANY_ANSWER, Accepted, Headers, accepted_by, declared_bytes
from linkspan_worker.http import ClientGoneError, HttpExchange
from linkspan_worker.http.connection import MAX_DROPPED_BYTES
from linkspan_worker.session_client import Principal

ANONYMOUS: Final = Principal()
"""Whom every session belongs to where nobody is asked who they are."""

_MAX_STRANGER_BYTES: Final = 64 * 1024
_STRANGER_SECONDS: Final = 1.0
"""How much is read, and for how long, of a request that is refused for who sent it."""

_LEAST_BYTES_PER_SECOND: Final = 4096
"""How fast a body must come on the whole, once it has been waited for as long as for any piece."""


class Listen(NamedTuple):
    """A GET: somebody wants to listen, or to go on behind an event."""

    session_id: str
    last_event_id: str


class End(NamedTuple):
    """A DELETE: a session is to be ended."""

    session_id: str


class Arrival(NamedTuple):
    """A request as far as it could be read and judged without asking anybody."""

    headers: Headers
    accepted: Accepted
    envelope: Envelope | Batch | None = None
    body: bytes = b""
    action: Post | Listen | End | None = None
    refused: RefusedError | None = None
    gone: bool = False
    failed: Exception | None = None
    entry: Entry | None = None

    @property
    def principal(self) -> Principal:
        """On whose behalf it is."""
        return ANONYMOUS if self.entry is None else self.entry.principal

    @property
    def request_id(self) -> RequestId | None:
        """The id that it is answered under; None if there is none, or it could not be read."""
        if isinstance(self.envelope, Request):
            return self.envelope.id
        return self.refused.request_id if self.refused else None


async def judge(exchange: HttpExchange, headers: Headers, stall_seconds: float) -> Arrival:
    """Read a request and judge what it is; never raises for what a client does.

    Args:
        exchange: The request.
        headers: Its headers.
        stall_seconds: How long the next piece of its body may take.
    """
    accepted = ANY_ANSWER
    envelope: Envelope | Batch | None = None
    try:
        match exchange.method:
            case "POST":
                accepted = check_post_headers(headers)
                body = await _read(exchange, stall_seconds)
                envelope = read_body(body, headers)
                return Arrival(headers, accepted, envelope, body, admit_post(envelope, headers))
            case "GET":
                last_event_id = headers.get("last-event-id") or ""
                action = Listen(admit_listen(headers), last_event_id)
                return Arrival(headers, accepted, action=action)
            case "DELETE":
                return Arrival(headers, accepted, action=End(admit_end(headers)))
            case "OPTIONS":
                return Arrival(headers, accepted)
            case _:
                raise RefusedError(method_not_allowed())  # noqa: TRY301 - a rung like the others
    except RefusedError as refused:
        read_no_further(exchange, headers)
        return Arrival(headers, accepted, envelope, refused=refused)
    except ClientGoneError:
        return Arrival(headers, accepted, gone=True)


def read_no_further(exchange: HttpExchange, headers: Headers) -> None:
    """Have the connection end with the answer, if more of the body would come than is dropped."""
    if not exchange.body_complete and (declared_bytes(headers) or 0) > MAX_DROPPED_BYTES:
        exchange.keep_alive = False


async def judge_stranger(exchange: HttpExchange, headers: Headers, refusal: Refusal) -> Arrival:
    """Look at what a stranger wants, for its span and the id of its answer, if that costs little."""
    arrival = Arrival(headers, accepted_by(headers))
    length = declared_bytes(headers)
    if length is not None and length <= _MAX_STRANGER_BYTES:
        try:
            async with asyncio.timeout(_STRANGER_SECONDS):
                arrival = await judge(exchange, headers, _STRANGER_SECONDS)
        except TimeoutError:
            pass
    if not exchange.body_complete:  # the rest would have to be taken before a next request
        exchange.keep_alive = False
    return arrival._replace(refused=RefusedError(refusal, arrival.request_id))


async def _read(exchange: HttpExchange, stall_seconds: float) -> bytes:
    """Read the whole body, as far as the limit allows.

    Raises:
        RefusedError: 413, it is over the limit; 408, the next piece of it did not come in time, or
            they come too slowly.
        ClientGoneError: The client went away.
    """
    if exchange.body_complete:
        body = await exchange.read()
        if len(body) > MAX_MESSAGE_BYTES:
            raise RefusedError(too_large())
        return body
    pieces: list[bytes] = []
    size = 0
    now = asyncio.get_running_loop().time
    began = now()
    while True:
        try:
            async with asyncio.timeout_at(body_ends_at(began, now(), size, stall_seconds)):
                piece = await exchange.read()
        except TimeoutError:
            exchange.keep_alive = False
            raise RefusedError(too_slow()) from None
        if not piece:
            return b"".join(pieces)
        size += len(piece)
        if size > MAX_MESSAGE_BYTES:
            raise RefusedError(too_large())
        pieces.append(piece)


def body_ends_at(began: float, now: float, received_bytes: int, stall_seconds: float) -> float:
    """Say until when the next piece of a body is waited for.

    What has come buys time for the rest, so that nobody can hold a place for hours, byte by byte.

    Args:
        began: When the first piece was waited for.
        now: The same clock now.
        received_bytes: How much has come since.
        stall_seconds: How long a piece may take.
    """
    return min(now, began + received_bytes / _LEAST_BYTES_PER_SECOND) + stall_seconds
