"""Session servers in this process that do what a script says, over real gRPC on loopback."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from linkspan.session.v1.session_pb2 import Message, MessageKind
from linkspan.session.v1.session_service_pb2 import (
    Accepted,
    EndSessionRequest,
    EndSessionResponse,
    ErrorReason,
    GetSessionRequest,
    GetSessionResponse,
    HandleRequestRequest,
    HandleRequestResponse,
    InitRequest,
    InitResponse,
    ListSessionsRequest,
    ListSessionsResponse,
    StreamOpened,
)
from linkspan.session.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    add_SessionServiceServicer_to_server,
)
from linkspan_contract.status import make_status
from linkspan_worker.owners import OwnerRoutes
from linkspan_worker.placement import open_owner, open_placement
from linkspan_worker.sends import Servers

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Step: TypeAlias = Callable[[HandleRequestRequest, Context], AsyncIterator[HandleRequestResponse]]

SERVICE: Final = "linkspan.session.v1.SessionService"
LONG_SECONDS: Final = 30.0


class ScriptedServer(SessionServiceServicer):
    """Answers each call as the next step of its script says; with its name when there is none."""

    def __init__(self, name: str, port: int = 0) -> None:
        self.name = name
        self.script: deque[Step] = deque()
        self.inits: deque[Callable[[InitRequest, Context], Awaitable[None]]] = deque()
        self.requests: list[HandleRequestRequest] = []
        self.init_requests: list[InitRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.seconds_left: list[float | None] = []
        self.arrived = asyncio.Event()
        self.health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_SessionServiceServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def owner(self) -> str:
        """What redirects call it."""
        return f"{self.address}#{self.name}"

    async def start(self) -> None:
        await self._server.start()
        await self.say(health_pb2.HealthCheckResponse.SERVING)

    async def say(self, status: int) -> None:
        await self.health.set(SERVICE, status)

    async def stop(self) -> None:
        """Break all connections, and listen no more."""
        await self._server.stop(None)

    async def Init(self, request: InitRequest, context: Context) -> InitResponse:  # noqa: N802
        self.init_requests.append(_copy(request))
        if self.inits:
            await self.inits.popleft()(request, context)
        return InitResponse(created=True)

    async def HandleRequest(  # noqa: N802
        self, request: HandleRequestRequest, context: Context
    ) -> AsyncIterator[HandleRequestResponse]:
        self.requests.append(_copy(request))
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.seconds_left.append(context.time_remaining())
        self.arrived.set()
        step = self.script.popleft() if self.script else says(result(self.name))
        async for event in step(request, context):
            yield event

    async def GetSession(  # noqa: N802
        self, request: GetSessionRequest, context: Context
    ) -> GetSessionResponse:
        raise NotImplementedError

    async def ListSessions(  # noqa: N802
        self, request: ListSessionsRequest, context: Context
    ) -> ListSessionsResponse:
        raise NotImplementedError

    async def EndSession(  # noqa: N802
        self, request: EndSessionRequest, context: Context
    ) -> EndSessionResponse:
        raise NotImplementedError


def _copy(request: Any) -> Any:
    copied = type(request)()
    copied.CopyFrom(request)
    return copied


def result(text: str, event_id: str = "") -> HandleRequestResponse:
    kind = MessageKind.MESSAGE_KIND_RESULT
    return HandleRequestResponse(message=Message(json=text, kind=kind, event_id=event_id))


def note(text: str, event_id: str = "") -> HandleRequestResponse:
    kind = MessageKind.MESSAGE_KIND_NOTIFICATION
    return HandleRequestResponse(message=Message(json=text, kind=kind, event_id=event_id))


def opened(event_id: str = "", link: str = "") -> HandleRequestResponse:
    return HandleRequestResponse(
        stream_opened=StreamOpened(event_id=event_id, retry_millis=5, linked_traceparent=link)
    )


ACCEPTED: Final = HandleRequestResponse(accepted=Accepted())


def says(*events: HandleRequestResponse) -> Step:
    """Send events, and be done."""

    async def step(_: HandleRequestRequest, __: Context) -> AsyncIterator[HandleRequestResponse]:
        for event in events:
            yield event

    return step


def refuses(reason: ErrorReason.ValueType, *events: HandleRequestResponse, owner: str = "") -> Step:
    """Send events, then fail as the contract has it."""

    async def step(_: HandleRequestRequest, context: Context) -> AsyncIterator[Any]:
        for event in events:
            yield event
        await context.abort_with_status(make_status(reason, "words for people", owner=owner))

    return step


def aborts(
    code: grpc.StatusCode,
    *events: HandleRequestResponse,
    words: str = "",
    trailing: tuple[tuple[str, str], ...] = (),
) -> Step:
    """Send events, then fail without a reason, as gRPC itself does."""

    async def step(_: HandleRequestRequest, context: Context) -> AsyncIterator[Any]:
        for event in events:
            yield event
        await context.abort(code, words, trailing)

    return step


def hangs(*events: HandleRequestResponse) -> Step:
    """Send initial metadata and events, then nothing any more."""

    async def step(_: HandleRequestRequest, context: Context) -> AsyncIterator[Any]:
        await context.send_initial_metadata(())
        for event in events:
            yield event
        await asyncio.Event().wait()

    return step


def refuses_init(
    reason: ErrorReason.ValueType, *, owner: str = ""
) -> Callable[[InitRequest, Context], Awaitable[None]]:
    """Fail an Init as the contract has it."""

    async def step(_: InitRequest, context: Context) -> None:
        await context.abort_with_status(make_status(reason, "words for people", owner=owner))

    return step


@asynccontextmanager
async def serving(*names: str) -> AsyncGenerator[list[ScriptedServer]]:
    """Run servers until the block is left."""
    servers = [ScriptedServer(name) for name in names]
    for server in servers:
        await server.start()
    try:
        yield servers
    finally:
        for server in servers:
            await server.stop()


def target_of(*servers: ScriptedServer) -> str:
    return "ipv4:" + ",".join(server.address for server in servers)


@asynccontextmanager
async def reached(
    target: str, *, retry_for_seconds: float = LONG_SECONDS
) -> AsyncGenerator[Servers]:
    """Open the ways to the servers behind a target until the block is left."""
    servers = Servers(open_placement(target), OwnerRoutes(open_owner), retry_for_seconds)
    try:
        yield servers
    finally:
        await servers.close()
