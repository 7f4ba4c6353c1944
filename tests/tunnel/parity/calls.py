"""Scenarios of calls that end well: of every kind, by every way to read and write, large and slow."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from tests.tunnel.parity.scenarios import Outcome, Scenario, collector, outcome_of, state_of
from tests.tunnel.scripted import Scene, call, script

SCENARIOS: dict[str, Scenario] = {}
scenario = collector(SCENARIOS)


@scenario
async def unary_unary(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    return await outcome_of(call(channel, "UnaryUnary")(script(["send", "a"])))


@scenario
async def unary_stream(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    steps = script(["send", "a"], ["send", ""], ["send", "c"])
    return await outcome_of(call(channel, "UnaryStream")(steps))


@scenario
async def unary_stream_written_by_the_handler(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    return await outcome_of(call(channel, "Written")(script(["send", "a"], ["send", "b"])))


@scenario
async def unary_stream_of_nothing(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    return await outcome_of(call(channel, "UnaryStream")(script()))


async def _requests(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


@scenario
async def stream_unary(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    requests = _requests(script(["echo"]), b"1", b"", b"3")
    return await outcome_of(call(channel, "StreamUnary")(requests))


@scenario
async def stream_unary_from_a_list(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    return await outcome_of(call(channel, "StreamUnary")([script(["echo"]), b"1", b"2"]))


@scenario
async def stream_stream(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    requests = _requests(script(["echo"]), b"1", b"2", b"3")
    return await outcome_of(call(channel, "StreamStream")(requests))


@scenario
async def stream_unary_by_write(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "StreamUnary")()
    for message in (script(["echo"]), b"1", b"2"):
        await rpc.write(message)
    await rpc.done_writing()
    await rpc.done_writing()
    return await outcome_of(rpc)


@scenario
async def stream_stream_by_read_and_write(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "StreamStream")()
    await rpc.write(script(["headers", [["k", "v"]]], ["echo"]))
    got: Outcome = [sorted(await rpc.initial_metadata())]
    for message in (b"1", b"2"):
        await rpc.write(message)
        got.append(await rpc.read())
    await rpc.done_writing()
    got.append(await rpc.read() is grpc.aio.EOF)
    got.append(await rpc.read() is grpc.aio.EOF)
    try:
        await rpc.write(b"late")
    except asyncio.InvalidStateError as error:
        got.append(str(error))
    return [*got, *await state_of(rpc)]


@scenario
async def writing_after_half_close(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "StreamStream")()
    await rpc.write(script(["gate", "end"]))
    await rpc.done_writing()
    try:
        await rpc.write(b"late")
    except asyncio.InvalidStateError as error:
        words = str(error)
    else:
        words = "none"
    there.service.gate("end").set()
    return [words, await rpc.read() is grpc.aio.EOF]


@scenario
async def reading_and_iterating(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "UnaryStream")(script(["send", "a"], ["send", "b"]))
    got: Outcome = [await rpc.read()]
    try:
        aiter(rpc)
    except grpc.aio.UsageError as error:
        got.append(str(error))
    got.append(await rpc.read())
    got.append(await rpc.read() is grpc.aio.EOF)
    return got


@scenario
async def writing_beside_an_iterator(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "StreamStream")(_requests(script(["echo"]), b"1"))
    try:
        await rpc.write(b"2")
    except grpc.aio.UsageError as error:
        return [str(error), *await outcome_of(rpc)]
    return ["none"]


@scenario
async def awaiting_twice(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "UnaryUnary")(script(["send", "a"]))
    return [await rpc, await rpc, *await asyncio.gather(rpc.code(), rpc.code(), rpc.details())]


@scenario
async def large_messages(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    steps = script(["send_bytes", 3_000_000], ["send_bytes", 1], ["send_bytes", 1_000_000])
    large = b"y" * 2_000_000
    return [
        *await outcome_of(call(channel, "UnaryStream")(steps)),
        *await outcome_of(call(channel, "UnaryUnary")(script(["send_bytes", 3_000_000]))),
        *await outcome_of(call(channel, "StreamStream")([script(["echo"]), large, b"", large])),
        *await outcome_of(call(channel, "StreamUnary")([script(["echo"]), large])),
    ]


@scenario
async def server_answers_at_length_while_requests_come(
    channel: grpc.aio.Channel, there: Scene
) -> Outcome:
    async def requests() -> AsyncIterator[bytes]:
        yield script(["send_bytes", 3_000_000])
        while True:
            yield b"x" * 1000

    return await outcome_of(call(channel, "StreamUnary")(requests()))


@scenario
async def slow_reader_loses_nothing(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "UnaryStream")(script(["flood", 300, 10_000]))
    await rpc.initial_metadata()
    for _ in range(50):
        await asyncio.sleep(0)
    count = 0
    async for message in rpc:
        count += len(message)
    return [count, await rpc.code()]


@scenario
async def slow_handler_loses_nothing(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "StreamStream")()
    await rpc.write(script(["gate", "go"], ["echo"]))
    for _ in range(5):
        await rpc.write(b"x" * 10_000)
    there.service.gate("go").set()
    await rpc.done_writing()
    return await outcome_of(rpc)


@scenario
async def done_callbacks(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    told: Outcome = []
    rpc = call(channel, "UnaryStream")(script(["send", "a"]))

    def tell(ended: Any) -> None:
        told.append((ended is rpc, ended.done()))

    rpc.add_done_callback(tell)
    got = await outcome_of(rpc)
    rpc.add_done_callback(tell)
    return [*got, *told]


@scenario
async def not_done_before_all_is_read(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "UnaryStream")(script(["send", "a"], ["send", "b"]))
    await asyncio.wait_for(there.service.ended.wait(), 30)
    await rpc.initial_metadata()
    return [rpc.done(), await rpc.read(), await rpc.read(), await rpc.read() is grpc.aio.EOF]


@scenario
async def wait_for_connection(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "StreamStream")()
    await rpc.wait_for_connection()
    await rpc.write(script(["send", "a"]))
    await rpc.done_writing()
    return await outcome_of(rpc)
