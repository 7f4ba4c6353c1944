"""Sessions made at the session server itself, over gRPC: many, fast, and all with their handshake."""

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import grpc

from bench.http_load import drive
from bench.sessions.client import INITIALIZE, INITIALIZED
from linkspan.session.v1.session_pb2 import MessageKind, SessionState
from linkspan.session.v1.session_service_pb2 import (
    GetSessionRequest,
    HandleRequestRequest,
    InitRequest,
    ListSessionsRequest,
    Post,
)
from linkspan.session.v1.session_service_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    from linkspan.session.v1.session_service_pb2_grpc import SessionServiceAsyncStub

Service: TypeAlias = "SessionServiceAsyncStub"

_CALL_SECONDS: Final = 30.0
_CALLERS: Final = 32
_PAGE: Final = 1000
_SLEEP_SECONDS: Final = 120.0
"""How long it may take until all sessions sleep."""

_POLL_SECONDS: Final = 0.2

_ID_BYTES: Final = 24
"""As many as workers give an id."""

_OPENING: Final = json.dumps(
    {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": INITIALIZE}
)


@asynccontextmanager
async def service_at(address: str) -> AsyncGenerator[Service]:
    """Open a channel to a session server until the block is left."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield SessionServiceStub(channel)


async def init_new(service: Service) -> str:
    """Create a session, without its handshake; returns its id."""
    session_id = secrets.token_urlsafe(_ID_BYTES)
    answer = await service.Init(InitRequest(session_id=session_id), timeout=_CALL_SECONDS)
    if not answer.created:
        raise AssertionError(f"{session_id} was there before")
    return session_id


async def create(service: Service) -> str:
    """Create a session, with the whole handshake; returns its id."""
    session_id = await init_new(service)
    for message, expected in ((_OPENING, "message"), (INITIALIZED, "accepted")):
        request = HandleRequestRequest(session_id=session_id, post=Post(message=message))
        call = service.HandleRequest(request, timeout=_CALL_SECONDS)
        events = [event async for event in call]
        last = events[-1]
        if last.WhichOneof("event") != expected or (
            expected == "message" and last.message.kind != MessageKind.MESSAGE_KIND_RESULT
        ):
            raise AssertionError(f"{message} was answered with {events}")
    return session_id


async def populate(address: str, number: int) -> list[str]:
    """Create sessions; returns their ids, those that were used last at the end."""
    ids: list[str] = []
    async with service_at(address) as service:

        async def create_one() -> None:
            ids.append(await create(service))

        await drive([create_one] * _CALLERS, times=number)
    return ids


async def wait_asleep(address: str, ids: Sequence[str]) -> None:
    """Wait until sessions sleep."""
    async with service_at(address) as service, asyncio.timeout(_SLEEP_SECONDS):
        for session_id in reversed(ids):
            request = GetSessionRequest(session_id=session_id)
            while True:
                answer = await service.GetSession(request, timeout=_CALL_SECONDS)
                if answer.session.state == SessionState.SESSION_STATE_ASLEEP:
                    break
                await asyncio.sleep(_POLL_SECONDS)


async def owner_of(address: str, session_id: str) -> str:
    """Return the address of the session server that has a session in memory."""
    async with service_at(address) as service:
        request = GetSessionRequest(session_id=session_id)
        answer = await service.GetSession(request, timeout=_CALL_SECONDS)
    return answer.session.owner_address


async def count_sessions(address: str) -> int:
    """Return how many sessions are on record."""
    async with service_at(address) as service:
        number, token = 0, ""
        while True:
            request = ListSessionsRequest(page_size=_PAGE, page_token=token)
            page = await service.ListSessions(request, timeout=_CALL_SECONDS)
            number += len(page.sessions)
            token = page.next_page_token
            if not token:
                return number
