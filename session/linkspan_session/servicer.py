"""The gRPC face of the session host: checks fields, calls the host, turns errors into statuses.

Above lies gRPC and the generated code; below lies `host`. Holds no state of its own.
"""

import base64
import binascii
import logging
import uuid
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any, Final, NoReturn

import grpc
from opentelemetry import metrics

from linkspan.session.v1 import session_service_pb2 as service
from linkspan.session.v1.session_service_pb2_grpc import SessionServiceServicer
from linkspan_contract import limits
from linkspan_contract.status import make_status
from linkspan_process.metrics.catalog import counter
from linkspan_process.overload import LoadGate
from linkspan_session.answers import HeaderPairs
from linkspan_session.auditing import audit
from linkspan_session.errors import (
    BusyError,
    EventUnknownError,
    InvalidRequestError,
    SessionElsewhereError,
    SessionError,
)
from linkspan_session.exchange import Exchange
from linkspan_session.host import SessionHost
from linkspan_session.metrics_table import REFUSALS
from linkspan_session.requests import Attempt
from linkspan_session.session_messages import overview_message, session_message
from linkspan_session.store import Principal, SessionId, SessionRecord
from linkspan_session.subject import set_subject
from linkspan_session.tallies import open_exchanges

logger = logging.getLogger(__name__)

_refusals = counter(metrics.get_meter("linkspan.session"), REFUSALS)

_MAX_MILLIS: Final = 2**53
"""More milliseconds than any clock shows, and few enough for any store."""

_KNOWN_PRINCIPALS: Final = 256
"""How many principals are kept that have been checked: the same come again and again."""

_SURELY_SHORT_CHARS: Final = limits.MAX_HEADER_NAME_BYTES // 4
"""A header is not too long if its name and value together have no more characters than this."""


class SessionServicer(SessionServiceServicer):
    """`linkspan.session.v1.SessionService`, for grpc.aio."""

    def __init__(self, host: SessionHost, gate: LoadGate | None = None) -> None:
        """Put a face on a host.

        Args:
            host: Who answers.
            gate: Decides which calls are turned away when there are too many; None for none.
        """
        self._host = host
        self._gate = gate

    async def Init(  # noqa: N802 - the contract's name
        self, request: service.InitRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> service.InitResponse:
        """Create a session, or find the one there is."""
        try:
            set_subject(request.session_id, "initialize")
            if audit.trail is not None:
                audit.come(request)
            self._refuse_if_busy()
            record, in_flight, created = await self._host.init(
                _session_id(request.session_id),
                _principal_of(request),
                unreachable_owner=_node_id(request.unreachable_owner),
            )
            if created and audit.trail is not None:
                audit.created()
            return service.InitResponse(session=session_message(record, in_flight), created=created)
        except Exception as error:  # noqa: BLE001 - every failure leaves as a status
            await _abort(context, error)

    async def HandleRequest(  # noqa: N802 - the contract's name
        self,
        request: service.HandleRequestRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[service.HandleRequestResponse]:
        """Do one thing for a client, and stream what comes of it."""
        try:
            set_subject(request.session_id)
            if audit.trail is not None:
                audit.come(request)
            exchange = await self._open(request, context)
            open_exchanges.add(exchange)
            try:
                # Says that the request was taken: from here on its client may go away.
                await context.send_initial_metadata(())
                while (event := await exchange.take()) is not None:
                    yield event
            finally:
                exchange.detach()
                open_exchanges.discard(exchange)
        except Exception as error:  # noqa: BLE001 - every failure leaves as a status
            await _abort(context, error)

    async def GetSession(  # noqa: N802 - the contract's name
        self, request: service.GetSessionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> service.GetSessionResponse:
        """Tell what is on record about a session."""
        try:
            overview = await self._host.get(_session_id(request.session_id))
            if audit.trail is not None:
                audit.operated("GetSession", context, request.session_id)
            return service.GetSessionResponse(session=overview_message(overview))
        except Exception as error:  # noqa: BLE001 - every failure leaves as a status
            await _abort(context, error)

    async def ListSessions(  # noqa: N802 - the contract's name
        self, request: service.ListSessionsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> service.ListSessionsResponse:
        """List sessions, a page at a time."""
        try:
            size = _page_size(request.page_size)
            page = await self._host.list_page(_read_page_token(request.page_token), size + 1)
            more, page = len(page) > size, page[:size]
            if audit.trail is not None:
                audit.operated("ListSessions", context)
            return service.ListSessionsResponse(
                sessions=[overview_message(overview) for overview in page],
                next_page_token=_page_token(page[-1].record) if more else "",
            )
        except Exception as error:  # noqa: BLE001 - every failure leaves as a status
            await _abort(context, error)

    async def EndSession(  # noqa: N802 - the contract's name
        self, request: service.EndSessionRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> service.EndSessionResponse:
        """End a session, whomever it belongs to."""
        try:
            await self._host.end_any(
                _session_id(request.session_id),
                unreachable_owner=_node_id(request.unreachable_owner),
            )
            if audit.trail is not None:
                audit.operated("EndSession", context, request.session_id)
            return service.EndSessionResponse()
        except Exception as error:  # noqa: BLE001 - every failure leaves as a status
            await _abort(context, error)

    def _refuse_if_busy(self) -> None:
        if self._gate is not None and self._gate.turns_away(len(open_exchanges)):
            raise BusyError

    async def _open(
        self,
        request: service.HandleRequestRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> Exchange:
        principal = _principal_of(request)
        unreachable_owner = _node_id(request.unreachable_owner)
        attempt = _attempt(request.attempt)
        action = request.WhichOneof("action")
        # What ends a session makes room, and what may have begun is work that is done already.
        if action != "end" and not attempt.begun_before:
            self._refuse_if_busy()
        if action == "post":
            post = request.post
            headers = _headers_of(post)
            return await self._host.post(
                _session_id(request.session_id) if request.session_id else None,
                principal,
                post.message,
                headers=headers,
                single_answer=post.single_answer,
                timeout_seconds=context.time_remaining(),
                attempt=attempt,
                unreachable_owner=unreachable_owner,
            )
        if action == "listen":
            exchange = await self._host.listen(
                _session_id(request.session_id),
                principal,
                request.listen.last_event_id,
                unreachable_owner=unreachable_owner,
            )
            if audit.trail is not None:
                audit.listening()
            return exchange
        if action == "end":
            return await self._host.end(
                _session_id(request.session_id),
                principal,
                attempt=attempt,
                unreachable_owner=unreachable_owner,
            )
        raise InvalidRequestError("action: set one of post, listen and end")


def _reason_of(reason: service.ErrorReason.ValueType) -> str:
    return service.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
    if isinstance(error, SessionError):
        if audit.trail is not None:
            audit.refused(error)
        owner = error.owner if isinstance(error, SessionElsewhereError) else ""
        _refusals.add(1, {"reason": _reason_of(error.reason)})
        await _abort_with(context, make_status(error.reason, str(error), owner=owner))
    correlation_id = uuid.uuid4().hex
    _refusals.add(1, {"reason": "INTERNAL"})
    logger.error("a call failed; correlation id %s", correlation_id, exc_info=error)
    status = make_status(
        service.ErrorReason.ERROR_REASON_INTERNAL,
        "Internal error; its correlation id finds it in the session server's log",
        correlation_id=correlation_id,
    )
    await _abort_with(context, status)


async def _abort_with(context: grpc.aio.ServicerContext[Any, Any], status: grpc.Status) -> NoReturn:
    """Abort with a status, and with the trailing metadata that are there, which gRPC would drop."""
    there = context.trailing_metadata() or ()
    await context.abort(status.code, status.details, (*there, *(status.trailing_metadata or ())))


def _session_id(value: str) -> SessionId:
    if not limits.is_session_id(value):
        raise InvalidRequestError("session_id: must be 1 to 128 characters of visible ASCII")
    return SessionId(value)


def _principal_of(request: service.InitRequest | service.HandleRequestRequest) -> Principal:
    message = request.principal
    return _principal(message.issuer, message.subject, message.resource)


@lru_cache(maxsize=_KNOWN_PRINCIPALS)
def _principal(*fields: str) -> Principal:
    for value in fields:
        if limits.is_longer(value, limits.MAX_PRINCIPAL_FIELD_BYTES):
            raise InvalidRequestError(
                f"principal: a field is over {limits.MAX_PRINCIPAL_FIELD_BYTES} bytes"
            )
    return Principal(*fields)


def _node_id(value: str) -> str:
    if limits.is_longer(value, limits.MAX_NODE_ID_BYTES):
        raise InvalidRequestError(f"unreachable_owner: over {limits.MAX_NODE_ID_BYTES} bytes")
    return value


def _attempt(message: service.Attempt) -> Attempt:
    if not limits.is_request_key(message.key):
        raise InvalidRequestError("attempt.key: must be at most 64 characters of visible ASCII")
    if message.begun_before < 0:
        raise InvalidRequestError("attempt.begun_before: must not be negative")
    if len(message.seen_event_id) > limits.MAX_EVENT_ID_CHARS:
        raise EventUnknownError
    return Attempt(message.key, message.begun_before, message.seen_event_id)


def _headers_of(post: service.Post) -> HeaderPairs:
    if len(post.headers) > limits.MAX_HEADERS:
        raise InvalidRequestError(f"post.headers: more than {limits.MAX_HEADERS}")
    headers = tuple([(header.name, header.value) for header in post.headers])
    for name, value in headers:
        if len(name) + len(value) > _SURELY_SHORT_CHARS and (
            limits.is_longer(name, limits.MAX_HEADER_NAME_BYTES)
            or limits.is_longer(value, limits.MAX_HEADER_VALUE_BYTES)
        ):
            raise InvalidRequestError("post.headers: a name or value is too long")
    return headers


def _page_size(asked: int) -> int:
    if asked < 0:
        raise InvalidRequestError("page_size: must not be negative")
    return min(asked or limits.DEFAULT_PAGE_SIZE, limits.MAX_PAGE_SIZE)


def _page_token(last: SessionRecord) -> str:
    return base64.urlsafe_b64encode(f"{last.created_millis} {last.session_id}".encode()).decode()


def _read_page_token(token: str) -> tuple[int, SessionId] | None:
    if not token:
        return None
    try:
        text, _, session_id = base64.urlsafe_b64decode(token).decode().partition(" ")
        millis = int(text)
    except (binascii.Error, ValueError):
        millis, session_id = -1, ""
    if not (0 <= millis < _MAX_MILLIS and limits.is_session_id(session_id)):
        raise InvalidRequestError("page_token: is not one that ListSessions gave")
    return millis, SessionId(session_id)
