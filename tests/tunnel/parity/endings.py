"""Scenarios of calls that are cancelled, run out of time, or lose their channel."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from tests.tunnel.parity.scenarios import Outcome, Scenario, collector, outcome_of, state_of
from tests.tunnel.scripted import Scene, call, script

SCENARIOS: dict[str, Scenario] = {}
scenario = collector(SCENARIOS)


@scenario
async def cancelling_the_call(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "UnaryUnary")(script(["hang"]))
    await asyncio.wait_for(there.service.began.wait(), 30)
    got: Outcome = [rpc.cancel(), rpc.cancel()]
    got += await outcome_of(rpc)
    await asyncio.wait_for(there.service.ended.wait(), 30)
    return got


@scenario
async def cancelling_a_stream(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "UnaryStream")(script(["send", "a"], ["hang"]))
    got: Outcome = [await rpc.read()]
    await asyncio.wait_for(there.service.began.wait(), 30)
    rpc.cancel()
    try:
        await rpc.read()
    except asyncio.CancelledError:
        got.append("CancelledError")
    got += await state_of(rpc)
    await asyncio.wait_for(there.service.ended.wait(), 30)
    return got


@scenario
async def cancelling_at_once(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "UnaryUnary")(script(["send", "a"]))
    rpc.cancel()
    return await outcome_of(rpc)


def _cancelled_task(kind: str) -> None:
    async def run(channel: grpc.aio.Channel, there: Scene) -> Outcome:
        request: Any = [script(["hang"])] if kind.startswith("Stream") else script(["hang"])
        rpc = call(channel, kind)(request)
        read: Callable[[], Awaitable[Any]] = getattr(rpc, "read", lambda: rpc)

        async def wait() -> Any:
            return await read()

        task = asyncio.create_task(wait())
        await asyncio.wait_for(there.service.began.wait(), 30)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.wait_for(there.service.ended.wait(), 30)
        return [task.cancelled(), *await state_of(rpc)]

    SCENARIOS[f"cancelling_the_task_of_{kind}"] = run


for _kind in ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"):
    _cancelled_task(_kind)


@scenario
async def leaving_a_stream_early(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    got: Outcome = []
    rpc = call(channel, "UnaryStream")(script(["send", "a"], ["hang"]))
    async for message in rpc:
        got.append(message)
        break
    await asyncio.wait_for(there.service.began.wait(), 30)
    rpc.cancel()
    await asyncio.wait_for(there.service.ended.wait(), 30)
    return got


def _expiring(kind: str) -> None:
    async def run(channel: grpc.aio.Channel, there: Scene) -> Outcome:
        request: Any = [script(["hang"])] if kind.startswith("Stream") else script(["hang"])
        rpc = call(channel, kind)(request, timeout=1.0)  # time enough to begin
        got = await outcome_of(rpc)
        await asyncio.wait_for(there.service.ended.wait(), 30)
        return [*got, rpc.time_remaining()]

    SCENARIOS[f"deadline_of_{kind}"] = run


for _kind in ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"):
    _expiring(_kind)


@scenario
async def deadline_that_is_over_before(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    return await outcome_of(call(channel, "UnaryUnary")(script(["send", "a"]), timeout=-1))


@scenario
async def deadline_that_is_far_off(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    make = call(channel, "UnaryUnary")
    return [await make(script(["send", "a"]), timeout=after) for after in (1e7, 1e9)]


@scenario
async def closing_the_channel(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "UnaryUnary")(script(["hang"]))
    await asyncio.wait_for(there.service.began.wait(), 30)
    await channel.close()
    got = await outcome_of(rpc)
    await asyncio.wait_for(there.service.ended.wait(), 30)
    try:
        call(channel, "UnaryUnary")(b"")
    except grpc.aio.UsageError as error:
        got.append(str(error))
    return got


@scenario
async def closing_the_channel_with_grace(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "UnaryUnary")(script(["gate", "go"], ["send", "a"]))
    waiting = asyncio.ensure_future(outcome_of(rpc))
    closing = asyncio.ensure_future(channel.close(10))
    there.service.gate("go").set()
    await closing
    return await waiting
