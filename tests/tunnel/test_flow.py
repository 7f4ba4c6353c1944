"""Slow and stuck calls hold up nobody, and nobody holds more than the limits say."""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from tests.requirements import requirement
from tests.tunnel.scripted import Scene, call, scene, script

from linkspan_tunnel import NotBegunError, TunnelLimits

WINDOW = TunnelLimits().call_window_bytes
QUICK = script(["send", "quick"])


async def _answers(there: Scene) -> None:
    assert await there.unary(QUICK, timeout=30) == b"quick"


async def _settled(there: Scene, count: Callable[[], int]) -> None:
    """Wait until no more is sent, as far as other calls can tell that go through meanwhile."""
    before = -1
    while before != count():
        before = count()
        for _ in range(10):
            await _answers(there)


@requirement("tunnel.flow")
def test_a_reader_that_never_reads_stops_its_own_call_and_no_other() -> None:
    async def run() -> None:
        async with scene() as there:
            stuck = [there.stream(script(["flood", 1000, 1000])) for _ in range(20)]
            await _settled(there, lambda: there.service.seen.count("sent"))
            sent = there.service.seen.count("sent")
            assert 0 < sent <= 20 * (WINDOW // 1064 + 2)
            for rpc in stuck[:2]:
                assert len([message async for message in rpc]) == 1000

    asyncio.run(asyncio.wait_for(run(), 50))


@requirement("tunnel.flow")
def test_a_handler_that_never_reads_stops_its_own_call_and_no_other() -> None:
    async def run() -> None:
        async with scene() as there:
            written = 0

            async def requests() -> AsyncIterator[bytes]:
                nonlocal written
                yield script(["gate", "go"], ["echo"])
                for _ in range(500):
                    written += 1
                    yield b"x" * 1000

            stuck = [call(there.tunnel, "StreamStream")(requests()) for _ in range(5)]
            await _settled(there, lambda: written)
            assert 0 < written <= 5 * (WINDOW // 1064 + 2)
            there.service.gate("go").set()
            assert len([message async for message in stuck[0]]) == 500

    asyncio.run(asyncio.wait_for(run(), 50))


@requirement("tunnel.flow")
def test_small_calls_pass_a_large_message() -> None:
    async def run() -> None:
        async with scene() as there:
            await _answers(there)
            large = asyncio.ensure_future(
                call(there.tunnel, "StreamUnary")([script(["echo"]), b"x" * 4_000_000])
            )
            passed = 0
            while not large.done():
                await _answers(there)
                passed += 1
            assert await large == b"x" * 4_000_000
            assert passed >= 3, "in a queue, one would wait for all of it"

    asyncio.run(asyncio.wait_for(run(), 50))


def test_large_messages_take_turns() -> None:
    async def run() -> None:
        async with scene() as there:
            await _answers(there)
            steps = script(["send_bytes", 4_000_000])
            first = [asyncio.ensure_future(_of(there, steps)) for _ in range(3)]
            await _of(there, script(["send_bytes", 100_000]))
            assert not all(rpc.done() for rpc in first)
            assert await asyncio.gather(*first) == [4_000_000] * 3

    asyncio.run(asyncio.wait_for(run(), 50))


async def _of(there: Scene, steps: bytes) -> int:
    return len(await there.unary(steps))


def test_many_large_messages_go_through_little_room_one_after_the_other() -> None:
    async def run() -> None:
        limits = TunnelLimits(call_window_bytes=4096, assembly_bytes=100_000)
        async with scene(client_limits=limits, server_limits=limits) as there:
            steps = script(["send_bytes", 300_000])
            sizes = await asyncio.gather(*[_of(there, steps) for _ in range(20)])
            assert sizes == [300_000] * 20
            large = b"x" * 300_000
            rpcs = [call(there.tunnel, "StreamUnary")([script(["echo"]), large]) for _ in range(20)]
            assert await asyncio.gather(*rpcs) == [large] * 20

    asyncio.run(asyncio.wait_for(run(), 50))


def test_room_that_a_cancelled_call_had_or_waited_for_goes_to_others() -> None:
    async def run() -> None:
        limits = TunnelLimits(call_window_bytes=4096, assembly_bytes=10_000)
        async with scene(client_limits=limits) as there:
            steps = script(["send_bytes", 2_000_000])
            rpcs = [there.unary(steps) for _ in range(10)]
            await _answers(there)
            for rpc in rpcs[:9]:
                rpc.cancel()
            assert len(await rpcs[9]) == 2_000_000

    asyncio.run(asyncio.wait_for(run(), 50))


def test_a_client_begins_no_more_calls_than_the_server_allows() -> None:
    async def run() -> None:
        async with scene(server_limits=TunnelLimits(max_calls=2)) as there:
            hanging = [there.unary(script(["hang"])) for _ in range(2)]
            with pytest.raises(NotBegunError) as caught:
                await there.unary(QUICK)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await asyncio.wait_for(there.service.began.wait(), 30)
            hanging[0].cancel()
            await asyncio.wait_for(there.service.ended.wait(), 30)
            await _answers(there)
            hanging[1].cancel()

    asyncio.run(asyncio.wait_for(run(), 50))


def test_metadata_that_are_too_large_are_not_sent() -> None:
    async def run() -> None:
        async with scene(server_limits=TunnelLimits(max_metadata_bytes=200)) as there:
            with pytest.raises(NotBegunError) as caught:
                await there.unary(QUICK, metadata=(("k", "v" * 200),))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await there.unary(QUICK, metadata=(("k", "v" * 100),)) == b"quick"

    asyncio.run(asyncio.wait_for(run(), 50))


def test_trailing_metadata_that_are_too_large_fail_the_call() -> None:
    async def run() -> None:
        async with scene(client_limits=TunnelLimits(max_metadata_bytes=200)) as there:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await there.unary(script(["trailing", [["k", "v" * 200]]]))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    asyncio.run(asyncio.wait_for(run(), 50))


@pytest.mark.parametrize("kind", ["UnaryUnary", "UnaryStream"])
def test_a_message_over_its_senders_limit_fails_the_call(kind: str) -> None:
    async def run() -> None:
        limits = TunnelLimits(max_send_message_bytes=1000)
        async with scene(client_limits=limits, server_limits=limits) as there:
            for request in (b"x" * 1001, script(["send_bytes", 1001])):
                rpc = call(there.tunnel, kind)(request, timeout=30)
                assert await rpc.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await _answers(there)

    asyncio.run(asyncio.wait_for(run(), 50))


@pytest.mark.parametrize("kind", ["UnaryStream", "StreamStream"])
def test_a_stream_that_nobody_holds_any_more_is_cancelled(kind: str) -> None:
    async def run() -> None:
        async with scene() as there:
            await _read_one(there, kind)
            await asyncio.wait_for(there.service.ended.wait(), 30)
            assert "cancelled" in there.service.seen

    asyncio.run(asyncio.wait_for(run(), 50))


async def _read_one(there: Scene, kind: str) -> None:
    steps = script(["send", "a"], ["hang"])
    request = [steps] if kind == "StreamStream" else steps
    async for message in call(there.tunnel, kind)(request):
        assert message == b"a"
        break


def test_a_call_whose_task_is_cancelled_before_its_frames_leave_never_reaches_a_handler() -> None:
    async def run() -> None:
        async with scene() as there:
            await _answers(there)
            there.service.seen.clear()
            there.unary(script(["hang"])).cancel()
            await _answers(there)
            assert there.service.seen == ["done"]

    asyncio.run(asyncio.wait_for(run(), 50))


def test_contexts_of_handlers_are_their_own() -> None:
    async def run() -> None:
        async with scene() as there:
            steps = script(["metadata"])
            answers = await asyncio.gather(
                *[there.unary(steps, metadata=(("n", str(n)),)) for n in range(100)]
            )
            assert answers == [repr([("n", str(n))]).encode() for n in range(100)]

    asyncio.run(asyncio.wait_for(run(), 50))


def test_metadata_that_cannot_travel_raise_where_the_call_is_made() -> None:
    async def run() -> None:
        async with scene() as there:
            for pair in (("Bad Key", "v"), ("", "v"), ("k", "a\nb"), ("k", "\N{SNOWMAN}")):
                with pytest.raises(ValueError, match="metadata"):
                    there.unary(QUICK, metadata=(pair,))
            with pytest.raises(TypeError, match="bytes are needed"):
                there.unary(QUICK, metadata=(("k-bin", "text"),))

    asyncio.run(asyncio.wait_for(run(), 50))
