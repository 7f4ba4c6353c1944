"""Reading calls without waiting: the same through a tunnel and over gRPC itself, over real servers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc
import pytest
from tests.unit.worker.scripted import (
    Context,
    ScriptedServer,
    Step,
    aborts,
    hangs,
    note,
    opened,
    refuses,
    result,
    says,
)

from linkspan.session.v1.session_service_pb2 import (
    ErrorReason,
    HandleRequestRequest,
)
from linkspan.session.v1.session_service_pb2_grpc import (
    SessionServiceStub,
    add_SessionServiceServicer_to_server,
)
from linkspan_tunnel import TunnelChannel, TunnelServer
from linkspan_worker.reading import CallReader, Event, Nothing, PlainReader, TunnelReader, reader_of

PATIENCE_SECONDS: Final = 30.0
KINDS: Final = {"plain": PlainReader, "tunnel": TunnelReader}


@dataclass
class Read:
    """A call that is read."""

    reader: CallReader
    changed: asyncio.Event
    cancelled: asyncio.Event
    """Whether the server was told that the call is cancelled."""

    async def next(self) -> Event | Nothing:
        """Wait as the readers of readers do: clear the sign, look, wait for the sign."""
        while True:
            self.changed.clear()
            if (taken := self.reader.take()) is not Nothing.YET:
                return taken
            await self.changed.wait()


@asynccontextmanager
async def reading(kind: str, step: Step, **options: Any) -> AsyncGenerator[Read]:
    """Make one call of a server that follows a step, and read it until the block is left."""
    cancelled = asyncio.Event()

    async def watched(request: HandleRequestRequest, context: Context) -> AsyncIterator[Event]:
        try:
            async for event in step(request, context):
                yield event
        except asyncio.CancelledError:
            cancelled.set()
            raise

    service = ScriptedServer("the-server")
    service.script.append(watched)
    server = TunnelServer(grpc.aio.server(options=[("grpc.so_reuseport", 0)]))
    add_SessionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    if kind == "tunnel":
        channel = TunnelChannel(channel)
    changed = asyncio.Event()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            call = SessionServiceStub(channel).HandleRequest(HandleRequestRequest(), **options)
            yield Read(reader_of(call, changed.set), changed, cancelled)
    finally:
        await channel.close()
        await server.stop(None)
        await service.stop()


both = pytest.mark.parametrize("kind", KINDS)


@both
def test_a_call_is_read_in_the_way_that_it_is_made(kind: str) -> None:
    async def scene() -> None:
        async with reading(kind, says(result("{}"))) as read:
            assert type(read.reader) is KINDS[kind]
            assert read.reader.call is not None
            await read.next()

    asyncio.run(scene())


@both
def test_all_events_come_in_their_order_and_then_the_end_again_and_again(kind: str) -> None:
    async def scene() -> None:
        events = [opened("1"), *(note(str(number)) for number in range(50)), result("done")]
        async with reading(kind, says(*events)) as read:
            for event in events:
                assert await read.next() == event
            assert await read.next() is Nothing.MORE
            assert read.reader.take() is Nothing.MORE
            assert await read.reader.call.code() is grpc.StatusCode.OK

    asyncio.run(scene())


@both
def test_a_call_without_events_ends_well(kind: str) -> None:
    async def scene() -> None:
        async with reading(kind, says()) as read:
            assert await read.next() is Nothing.MORE

    asyncio.run(scene())


@both
def test_there_is_nothing_yet_while_the_server_says_nothing(kind: str) -> None:
    async def scene() -> None:
        async with reading(kind, hangs(note("first"))) as read:
            assert read.reader.take() is Nothing.YET
            assert await read.next() == note("first")
            assert read.reader.take() is Nothing.YET

    asyncio.run(scene())


@both
def test_a_failure_is_told_after_the_events_before_it(kind: str) -> None:
    async def scene() -> None:
        step = aborts(grpc.StatusCode.DATA_LOSS, note("first"), note("second"), words="lost")
        async with reading(kind, step) as read:
            assert await read.next() == note("first")
            assert await read.next() == note("second")
            for _ in range(2):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await read.next()
                assert raised.value.code() is grpc.StatusCode.DATA_LOSS
                assert raised.value.details() == "lost"

    asyncio.run(scene())


@both
def test_a_failure_keeps_its_trailing_metadata(kind: str) -> None:
    async def scene() -> None:
        step = refuses(ErrorReason.ERROR_REASON_SESSION_ELSEWHERE, owner="10.0.0.1:1#a")
        async with reading(kind, step) as read:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await read.next()
            assert dict(raised.value.trailing_metadata())

    asyncio.run(scene())


@both
def test_a_call_whose_time_is_over_fails(kind: str) -> None:
    async def scene() -> None:
        async with reading(kind, hangs(), timeout=0.1) as read:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await read.next()
            assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    asyncio.run(scene())


@both
def test_cancelling_ends_the_call_for_its_server(kind: str) -> None:
    async def scene() -> None:
        async with reading(kind, hangs(note("first"))) as read:
            assert await read.next() == note("first")
            read.reader.cancel()
            await read.cancelled.wait()
            read.reader.cancel()  # is no error

    asyncio.run(scene())


@both
def test_cancelling_a_call_that_has_ended_changes_nothing(kind: str) -> None:
    async def scene() -> None:
        async with reading(kind, says(result("{}"))) as read:
            await read.next()
            assert await read.next() is Nothing.MORE
            read.reader.cancel()
            assert await read.reader.call.code() is grpc.StatusCode.OK

    asyncio.run(scene())


@both
def test_a_server_is_slowed_down_by_who_does_not_take_events(kind: str) -> None:
    async def scene() -> None:
        sent = 0

        async def step(_: HandleRequestRequest, __: Context) -> AsyncIterator[Event]:
            nonlocal sent
            for _number in range(total):
                sent += 1
                yield note("a" * 100_000)

        total = 400
        async with reading(kind, step) as read:
            assert await read.next() == note("a" * 100_000)
            seen = -1
            while sent != seen:  # until nothing moves any more
                seen = sent
                await asyncio.wait([asyncio.ensure_future(read.changed.wait())], timeout=0.1)
            assert sent < total
            for _number in range(total - 1):
                assert await read.next() == note("a" * 100_000)
            assert await read.next() is Nothing.MORE

    asyncio.run(scene())
