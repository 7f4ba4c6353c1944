"""What a request to `/mcp` is, or why it is refused: a ladder of checks, nothing but decisions.

Pure: no I/O. The order of the rungs is the order in which a client can mend things: method,
headers, body, era, session. The era is decided by the MCP SDK's rule: a `MCP-Protocol-Version` that
is not one of the handshake versions goes to the ladder of MCP 2026-07-28 (`modern`), everything else
to the handshake era.

Sources: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
and the same page of 2026-07-28.
"""

from enum import Enum
from http import HTTPStatus
from typing import Final, NamedTuple, NoReturn, TypeAlias

from linkspan_contract.envelope import (
    BATCH_VERSION,
    INVALID_REQUEST,
    Batch,
    Envelope,
    EnvelopeError,
    Notification,
    Request,
    RequestId,
    Response,
    parse_envelope,
    parse_message,
)
from linkspan_contract.limits import MAX_MESSAGE_BYTES, is_session_id
from linkspan_contract.versions import HANDSHAKE_VERSIONS
from linkspan_worker.failures import Refusal
from linkspan_worker.headers import (
    EVENT_STREAM,
    JSON,
    Accepted,
    Headers,
    SteadyHeaders,
    accepted_by,
    declared_bytes,
    is_json,
)
from linkspan_worker.mcp_headers import VERSION_HEADER, decode_header_value
from linkspan_worker.modern import (
    STATUS_BY_CODE,
    refuse_request,
    refuse_routing,
    refuse_version,
)

SESSION_ID_HEADER: Final = "mcp-session-id"

LISTEN_METHOD: Final = "subscriptions/listen"
"""The request of MCP 2026-07-28 whose answer is a stream that lasts as long as its client likes."""

ALLOWED_METHODS: Final = "GET, POST, DELETE, OPTIONS"

_IDENTITY: Final = "identity"


class Era(Enum):
    """The two families of MCP versions."""

    HANDSHAKE = "handshake"
    MODERN = "modern"


class RefusedError(Exception):
    """The request is answered with `refusal`, under `request_id` if one could be read."""

    def __init__(self, refusal: Refusal, request_id: RequestId | None = None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.request_id = request_id


class Opening(NamedTuple):
    """An `initialize` without a session: a new session is to be made."""

    request: Request


class InSession(NamedTuple):
    """A message of a session, or a batch of them."""

    session_id: str
    envelope: Envelope | Batch


class Alone(NamedTuple):
    """A message of MCP 2026-07-28, which has no session."""

    envelope: Request | Notification


Post: TypeAlias = Opening | InSession | Alone


def era_of(headers: Headers) -> Era:
    """Decide which family of versions a request belongs to, from its headers alone."""
    return headers.steady.once(_era)


def _era(headers: SteadyHeaders) -> Era:
    version = headers.get(VERSION_HEADER)
    if version is None or version in HANDSHAKE_VERSIONS:
        return Era.HANDSHAKE
    return Era.MODERN


def check_post_headers(headers: Headers) -> Accepted:
    """Check what can be checked of a POST before its body is read.

    Raises:
        RefusedError: 406, 413 or 415.
    """
    accepted = headers.steady.once(_check_kinds)
    if (declared_bytes(headers) or 0) > MAX_MESSAGE_BYTES:
        raise RefusedError(too_large())
    return accepted


def _check_kinds(headers: SteadyHeaders) -> Accepted:
    accepted = accepted_by(headers)
    if not (accepted.json or accepted.event_stream):
        _refuse(
            HTTPStatus.NOT_ACCEPTABLE,
            f"Not acceptable: the Accept header must allow {JSON} or {EVENT_STREAM}, best both",
        )
    if not is_json(headers):
        _refuse(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Unsupported media type: Content-Type must be {JSON}, in UTF-8",
        )
    if (headers.get("content-encoding") or _IDENTITY).lower() != _IDENTITY:
        raise RefusedError(_UNKNOWN_CODING)
    return accepted


_UNKNOWN_CODING: Final = Refusal(
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    INVALID_REQUEST,
    "Unsupported media type: a body in a Content-Encoding is not taken",
    "415",
    headers=(("accept-encoding", _IDENTITY),),
)
"""A body that would have to be inflated is not. Source: RFC 9110, section 15.5.16."""


def too_large() -> Refusal:
    """Refuse a body over the limit."""
    return _refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"The message is too large: at most {MAX_MESSAGE_BYTES} bytes",
    )


def too_slow() -> Refusal:
    """Refuse a body that does not arrive; the connection is of no more use (RFC 9110, 15.5.9)."""
    return Refusal(
        HTTPStatus.REQUEST_TIMEOUT,
        INVALID_REQUEST,
        "Request timeout: the body did not arrive in time",
        "408",
    )


def read_body(body: bytes, headers: Headers) -> Envelope | Batch:
    """Parse the body of a POST; a batch only where the version may be one that has them.

    Raises:
        RefusedError: 400, it is not JSON-RPC as the version has it.
    """
    # The clients of that version name it in `initialize` only; the session knows for sure.
    batches = headers.get(VERSION_HEADER) in (None, BATCH_VERSION)
    try:
        return parse_message(body) if batches else parse_envelope(body)
    except EnvelopeError as error:
        refusal = Refusal(HTTPStatus.BAD_REQUEST, error.code, str(error), "invalid_message")
        raise RefusedError(refusal, error.request_id) from None


def admit_post(envelope: Envelope | Batch, headers: Headers) -> Post:
    """Decide what a POSTed message is.

    Raises:
        RefusedError: 400 or 404, with the specification's JSON-RPC error.
    """
    if era_of(headers) is Era.MODERN and not isinstance(envelope, Batch):
        return _admit_modern(envelope, headers)
    session_id = _session_id(headers, envelope)
    if session_id is not None:
        return InSession(session_id, envelope)
    if not isinstance(envelope, Request) or envelope.method != "initialize":
        _refuse(
            HTTPStatus.BAD_REQUEST,
            "Bad request: Mcp-Session-Id is missing; open a session with initialize first",
            _id_of(envelope),
        )
    return Opening(envelope)


def admit_listen(headers: Headers) -> str:
    """Return the session that a GET listens to.

    Raises:
        RefusedError: 400, 404, 405 or 406.
    """
    _refuse_method_in_modern_era(headers)
    if not accepted_by(headers).event_stream:
        _refuse(
            HTTPStatus.NOT_ACCEPTABLE,
            f"Not acceptable: the Accept header must allow {EVENT_STREAM}",
        )
    return _required_session_id(headers)


def admit_end(headers: Headers) -> str:
    """Return the session that a DELETE ends.

    Raises:
        RefusedError: 400, 404 or 405.
    """
    _refuse_method_in_modern_era(headers)
    return _required_session_id(headers)


def method_not_allowed(allowed: str = ALLOWED_METHODS) -> Refusal:
    """Refuse an HTTP method, and say which are allowed (RFC 9110, section 15.5.6)."""
    return Refusal(
        HTTPStatus.METHOD_NOT_ALLOWED,
        INVALID_REQUEST,
        f"Method not allowed: use {allowed}",
        "405",
        headers=(("allow", allowed),),
    )


def http_status_of_error(era: Era, code: int) -> int:
    """Pick the status of a JSON body that holds an error the hosted server answered with.

    In the handshake era a JSON-RPC error is an answer like any other: 200. In MCP 2026-07-28 the
    specification gives some codes a status of their own.
    """
    if era is Era.HANDSHAKE:
        return HTTPStatus.OK
    return STATUS_BY_CODE.get(code, HTTPStatus.OK)


def _admit_modern(envelope: Envelope, headers: Headers) -> Alone:
    request_id = _id_of(envelope)
    if isinstance(envelope, Response):
        _refuse(
            HTTPStatus.BAD_REQUEST,
            "Bad request: this protocol version has no responses from clients",
            request_id,
        )
    refusal = refuse_routing(headers)
    if refusal is not None:
        raise RefusedError(refusal, request_id)
    if isinstance(envelope, Notification):
        refusal = refuse_version(headers)
    else:
        refusal = refuse_request(envelope, headers)
    if refusal is not None:
        raise RefusedError(refusal, request_id)
    return Alone(envelope)


def _refuse_method_in_modern_era(headers: Headers) -> None:
    if era_of(headers) is Era.HANDSHAKE:
        return
    raise RefusedError(refuse_version(headers) or method_not_allowed("POST, OPTIONS"))


def _required_session_id(headers: Headers) -> str:
    session_id = _session_id(headers, None)
    if session_id is None:
        _refuse(HTTPStatus.BAD_REQUEST, "Bad request: Mcp-Session-Id is missing")
    return session_id


def _session_id(headers: Headers, envelope: Envelope | Batch | None) -> str | None:
    named = headers.steady.once(_named_session)
    if isinstance(named, Refusal):
        raise RefusedError(named, _id_of(envelope))
    return named


def _named_session(headers: SteadyHeaders) -> str | Refusal | None:
    values = set(headers.all(SESSION_ID_HEADER))
    if not values:
        return None
    if len(values) > 1:
        return _refusal(
            HTTPStatus.BAD_REQUEST, "Bad request: several Mcp-Session-Id headers that differ"
        )
    (session_id,) = values
    if not is_session_id(session_id):  # no session can have such an id
        return _refusal(HTTPStatus.NOT_FOUND, "Session not found")
    return session_id


def _id_of(envelope: Envelope | Batch | None) -> RequestId | None:
    return envelope.id if isinstance(envelope, Request) else None


def routing_key_of(headers: Headers, name: str) -> str:
    """Read the routing key from the header of that name; empty if there is none."""
    return decode_header_value(headers.get(name)) or "" if name else ""


def _refusal(status: HTTPStatus, message: str) -> Refusal:
    return Refusal(status, INVALID_REQUEST, message, str(status.value))


def _refuse(status: HTTPStatus, message: str, request_id: RequestId | None = None) -> NoReturn:
    raise RefusedError(_refusal(status, message), request_id)
