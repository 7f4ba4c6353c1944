"""Session servers without gRPC, for tests: directories over one real store, and a clock to turn."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from mcp.server import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    EmptyResult,
    ListToolsResult,
    PaginatedRequestParams,
    SetLevelRequestParams,
    SubscribeRequestParams,
    Tool,
    ToolAnnotations,
)
from tests.stores.backends import SqliteBackend
from tests.support.waiting import PATIENCE_SECONDS

from linkspan_contract.envelope import JsonObject, Request
from linkspan_session.answer_streams import PlainStream
from linkspan_session.answers import Result
from linkspan_session.directory import SessionDirectory
from linkspan_session.exchange import Exchange
from linkspan_session.kernel import Call, HostedServer, handshake_of, hosting
from linkspan_session.lease import Lease
from linkspan_session.live import LiveSession, StreamSettings
from linkspan_session.outlets import SilentOutlet
from linkspan_session.session_limits import SessionLimits
from linkspan_session.settling import Settled
from linkspan_session.storage.handler import HandlerStorage
from linkspan_session.store import (
    Changes,
    Found,
    NodeId,
    Ownership,
    Principal,
    SessionId,
    SessionRecord,
)
from linkspan_session.store.base import DEFAULT_MAX_LOG_BYTES
from linkspan_session.store.database import SqliteDatabase
from linkspan_session.store.sqlite_nodes import MachineClock, SqliteNodeRegistry
from linkspan_session.store.sqlite_sessions import SqliteSessionStore
from linkspan_session.store.sqlite_tasks import SqliteTaskStore
from linkspan_session.tasks.ledger import TaskLedger
from linkspan_session.tasks.runner import TaskRunner

T = TypeVar("T")

ADA: Final = Principal("https://issuer.example", "ada", "https://mcp.example")
BOB: Final = Principal("https://issuer.example", "bob", "https://mcp.example")
LEASE_SECONDS: Final = 10.0

INITIALIZE: Final[JsonObject] = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "a client", "version": "1.2"},
}
STREAMS: Final = StreamSettings(
    open_after_seconds=60, retry_millis=1000, max_buffered_bytes=1 << 20, stall_seconds=5
)


class Clock:
    """The time of a test: it stands still unless it is turned."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def now_nanos(self) -> int:
        return round(self.seconds * 1_000_000_000)

    def now_millis(self) -> int:
        return 1_700_000_000_000 + round(self.seconds * 1000)


class Gate:
    """Where a call to the store waits, so that a test decides what comes in between."""

    def __init__(self) -> None:
        self.arrived: Final = asyncio.Event()
        self.opened: Final = asyncio.Event()

    async def passed(self) -> None:
        self.arrived.set()
        await self.opened.wait()


class GatedSessions(SqliteSessionStore):
    """A real store; the next call of a method can be held up before or after its commit."""

    def __init__(self, database: SqliteDatabase, clock: MachineClock) -> None:
        super().__init__(database, clock, max_log_bytes=DEFAULT_MAX_LOG_BYTES)
        self._before: dict[str, Gate] = {}
        self._after: dict[str, Gate] = {}

    def hold_before(self, method: str) -> Gate:
        return self._before.setdefault(method, Gate())

    def hold_after(self, method: str) -> Gate:
        return self._after.setdefault(method, Gate())

    async def _through(self, method: str, work: Callable[[], Awaitable[T]]) -> T:
        before, after = self._before.pop(method, None), self._after.pop(method, None)
        if before is not None:
            await before.passed()
        result = await work()
        if after is not None:
            await after.passed()
        return result

    async def create(self, record: SessionRecord, *, max_of_principal: int) -> SessionRecord | None:
        work = partial(super().create, record, max_of_principal=max_of_principal)
        return await self._through("create", work)

    async def get(self, session_id: SessionId) -> Found | None:
        return await self._through("get", partial(super().get, session_id))

    async def claim(
        self, session_id: SessionId, node: NodeId, *, seen_epoch: int
    ) -> SessionRecord | None:
        work = partial(super().claim, session_id, node, seen_epoch=seen_epoch)
        return await self._through("claim", work)

    async def commit(self, ownership: Ownership, changes: Changes) -> int:
        return await self._through("commit", partial(super().commit, ownership, changes))


@dataclasses.dataclass
class App:
    """The hosted server of all session servers, and what its handlers were asked."""

    levels: list[str] = dataclasses.field(default_factory=list[str])
    subscribed: list[str] = dataclasses.field(default_factory=list[str])
    cleaned: list[str] = dataclasses.field(default_factory=list[str])
    listed: int = 0
    """How often it was asked for its tools."""
    on_list: Gate | None = None
    """Where whoever asks for them waits."""
    called: int = 0
    """How often its tool was called, which says of itself that it only reads."""
    on_call: Gate | None = None
    """Where calls of the tool wait."""
    on_subscribe: Gate | None = None
    """Where the next subscription waits, and then says something on the listening stream."""

    def server(self) -> Server[Any]:
        server: Server[Any] = Server("app")
        server.add_request_handler("logging/setLevel", SetLevelRequestParams, self._set_level)
        server.add_request_handler("resources/subscribe", SubscribeRequestParams, self._subscribe)
        server.add_request_handler("tools/list", PaginatedRequestParams, self._list)
        server.add_request_handler("tools/call", CallToolRequestParams, self._call)
        return server

    async def _list(
        self,
        ctx: ServerRequestContext[Any],  # noqa: ARG002 - the SDK's signature
        params: PaginatedRequestParams,  # noqa: ARG002
    ) -> ListToolsResult:
        self.listed += 1
        if self.on_list is not None:
            await self.on_list.passed()
        harmless = ToolAnnotations(read_only_hint=True)
        tool = Tool(name="look", input_schema={"type": "object"}, annotations=harmless)
        return ListToolsResult(tools=[tool])

    async def _call(
        self,
        ctx: ServerRequestContext[Any],  # noqa: ARG002 - the SDK's signature
        params: CallToolRequestParams,  # noqa: ARG002
    ) -> CallToolResult:
        self.called += 1
        if self.on_call is not None:
            await self.on_call.passed()
        return CallToolResult(content=[])

    async def _set_level(
        self,
        ctx: ServerRequestContext[Any],  # noqa: ARG002 - the SDK's signature
        params: SetLevelRequestParams,
    ) -> EmptyResult:
        self.levels.append(params.level)
        return EmptyResult()

    async def _subscribe(
        self, ctx: ServerRequestContext[Any], params: SubscribeRequestParams
    ) -> EmptyResult:
        uri = str(params.uri)
        connection = ctx.session._connection  # pyright: ignore[reportPrivateUsage]
        connection.exit_stack.callback(self.cleaned.append, uri)
        gate, self.on_subscribe = self.on_subscribe, None
        if gate is not None:
            await gate.passed()
            await connection.send_resource_updated(uri)
        self.subscribed.append(uri)
        return EmptyResult()


class SessionServer:
    """A session server as far as its directory goes."""

    def __init__(
        self,
        node: NodeId,
        database: SqliteDatabase,
        hosted: HostedServer,
        tasks: asyncio.TaskGroup,
        clock: Clock,
        limits: SessionLimits,
        lease_seconds: float,
    ) -> None:
        self.node: Final = node
        machine = MachineClock("this boot", clock.now_nanos)
        self.nodes: Final = SqliteNodeRegistry(database, machine)
        self.store: Final = GatedSessions(database, machine)
        self.limits: Final = limits
        self.tasks: Final = tasks
        ledger = TaskLedger(SqliteTaskStore(database), self.nodes, node)
        self.task_runner: Final = TaskRunner(ledger, tasks)
        self.hosted: Final = hosted
        self.clock: Final = clock
        self.lease: Final = Lease(
            self.nodes,
            node,
            seconds=lease_seconds,
            live_sessions=lambda: len(self.sessions),
            clock=clock.now,
        )
        self.sessions: Final = SessionDirectory(
            hosted,
            self.store,
            self.lease,
            tasks,
            STREAMS,
            limits,
            clock.now_millis,
            lambda live: hosted.restore(live.connection, live.record.preferences),
        )

    async def create(self, name: str, principal: Principal = ADA) -> LiveSession:
        """Create a session whose client has said hello."""
        record, created = await self.sessions.create(SessionId(name), principal, "")
        assert created
        live = self.live(name)
        assert isinstance(await self.ask(live, "initialize", INITIALIZE), Result)
        handshake = handshake_of(live.connection)
        assert handshake is not None
        expires = self.limits.expires_millis(record.created_millis, record.created_millis)
        await live.journal.commit(Changes(handshake=handshake, expires_millis=expires))
        live.record = dataclasses.replace(live.record, handshake=handshake, expires_millis=expires)
        return live

    async def ask(self, live: LiveSession, method: str, params: JsonObject) -> object:
        """Have the hosted server answer a request, and nothing of it settled."""
        outlet = SilentOutlet(PlainStream(Exchange()))
        call = Call(outlet, request_id=1, params=params, headers=())
        return await self.hosted.answer(live.connection, call, Request(1, method, params))

    async def settle(self, live: LiveSession, method: str, params: JsonObject) -> None:
        """Have the hosted server answer a request, and put on record what it changed."""
        answer = await self.ask(live, method, params)
        assert isinstance(answer, Result)
        settled = Settled(live, Request(1, method, params), HandlerStorage(live.data))
        changes = await settled.changes(answer)
        if changes is not None:
            await live.journal.commit(changes)
            settled.committed()
        settled.over()

    async def use(self, name: str, *, unreachable: str = "") -> LiveSession:
        """Use a session of Ada's for a moment; returns what was used."""
        async with self.sessions.using(SessionId(name), ADA, unreachable) as live:
            return live

    async def seen(self, name: str) -> Found:
        found = await self.store.get(SessionId(name))
        assert found is not None
        return found

    def has(self, name: str) -> bool:
        """Tell whether a session is in memory."""
        return name in self.names()

    def names(self) -> list[str]:
        """Return the sessions in memory, the least recently used first."""
        return [live.record.session_id for live in self.sessions.live()]

    def live(self, name: str) -> LiveSession:
        """Return a session that is in memory."""
        (live,) = [each for each in self.sessions.live() if each.record.session_id == name]
        return live

    @property
    def quiet(self) -> bool:
        """Whether no session is on its way into memory or out of it, or counted as if it were."""
        directory = self.sessions
        return not (directory._doors or directory._coming)  # pyright: ignore[reportPrivateUsage]


async def asleep(server: SessionServer, name: str = "s") -> None:
    """Put a session on record that nobody has in memory."""
    assert await server.sessions.sleep(await server.create(name))


class Fleet:
    """Session servers over one file, each with its own connection to it."""

    def __init__(self, path: Path, stack: AsyncExitStack, tasks: asyncio.TaskGroup) -> None:
        self.clock: Final = Clock()
        self.app: Final = App()
        self.backend: Final = SqliteBackend(path)
        self._stack = stack
        self._tasks = tasks

    async def start(
        self,
        name: str,
        limits: SessionLimits | None = None,
        *,
        port: int = 1,
        lease_seconds: float = LEASE_SECONDS,
    ) -> SessionServer:
        database = await SqliteDatabase.open(self.backend.path)
        self._stack.push_async_callback(database.close)
        hosted = await self._stack.enter_async_context(hosting(self.app.server()))
        node = NodeId(f"127.0.0.1:{port}#{name}")
        return SessionServer(
            node,
            database,
            hosted,
            self._tasks,
            self.clock,
            limits or SessionLimits(),
            lease_seconds,
        )


Scenario = Callable[[Fleet], Coroutine[Any, Any, None]]


def run(path: Path, scenario: Scenario) -> None:
    """Run a scenario; no task may fail, and none may be left."""

    @asynccontextmanager
    async def fleet() -> AsyncGenerator[Fleet]:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            yield Fleet(path, stack, tasks)

    async def main() -> None:
        async with asyncio.timeout(50), fleet() as made:
            await scenario(made)

    asyncio.run(main())


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; fails the test if it does not come to hold in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while not condition():
        assert loop.time() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.001)


async def renew(lease: Lease) -> None:
    """Have a lease renewed once."""
    before = lease.peers
    keeping = asyncio.create_task(lease.keep())
    await until(lambda: lease.peers is not before, "the renewal")
    keeping.cancel()
    await asyncio.wait({keeping})
