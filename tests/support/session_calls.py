"""The session service called by its stub, for tests of what a worker never asks."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import grpc

from linkspan.session.v1.session_service_pb2 import ListSessionsRequest
from linkspan.session.v1.session_service_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    from linkspan.session.v1.session_service_pb2_grpc import SessionServiceAsyncStub

Service: TypeAlias = "SessionServiceAsyncStub"
"""The stub over a channel of grpc.aio; only its types have a name of their own."""

TIMEOUT_SECONDS: Final = 30.0


@asynccontextmanager
async def service_at(target: str) -> AsyncGenerator[Service]:
    """Open a channel until the block is left."""
    async with grpc.aio.insecure_channel(target) as channel:
        yield SessionServiceStub(channel)


async def session_ids(service: Service) -> list[str]:
    """Return the ids of all sessions, page by page."""
    ids: list[str] = []
    token = ""
    while True:
        request = ListSessionsRequest(page_size=1000, page_token=token)
        page = await service.ListSessions(request, timeout=TIMEOUT_SECONDS)
        ids += [session.session_id for session in page.sessions]
        token = page.next_page_token
        if not token:
            return ids
