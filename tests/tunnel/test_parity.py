"""Calls through a tunnel come out as they do without one: same scenarios over both, side by side."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from tests.requirements import requirement
from tests.tunnel.scripted import Scene, call, scene, script

CUT_SHORT = (
    "request_over_the_limit",
    "requests_that_fail_to_come",
    "response_over_the_limit",
)
"""Scenarios in which it is chance how far handlers come before they are cut short."""

Outcome = list[Any]
Scenario = Callable[[grpc.aio.Channel, Scene], Awaitable[Outcome]]

SCENARIOS: dict[str, Scenario] = {}


def scenario(run: Scenario) -> Scenario:
    """Have a scenario run over both."""
    SCENARIOS[run.__name__] = run
    return run


async def outcome_of(rpc: Any, got: Outcome | None = None) -> Outcome:
    """Read a call to its end and say all that can be seen of it."""
    got = [] if got is None else got
    error: BaseException | None = None
    try:
        if hasattr(rpc, "__await__"):
            got.append(await rpc)
        else:
            async for message in rpc:
                got.append(message)
    except (grpc.aio.AioRpcError, asyncio.CancelledError) as caught:
        error = caught
    return [*got, *_seen_of(error), *await state_of(rpc)]


def _seen_of(error: BaseException | None) -> Outcome:
    if isinstance(error, grpc.aio.AioRpcError):
        return [
            "AioRpcError",
            error.code(),
            _words(error.details()),
            sorted(error.initial_metadata()),
            sorted(error.trailing_metadata()),
        ]
    return [type(error).__name__]


async def state_of(rpc: Any) -> Outcome:
    return [
        await rpc.code(),
        _words(await rpc.details()),
        sorted(await rpc.initial_metadata()),
        sorted(await rpc.trailing_metadata()),
        rpc.done(),
        rpc.cancelled(),
        rpc.cancel(),
    ]


def _words(details: str | None) -> str:
    """Leave out what gRPC's core puts around words on limits, and how it counts."""
    return "larger than max" if details and "larger than max" in details else details or ""


# --- call kinds, OK ---------------------------------------------------------------------------------


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


# --- metadata ---------------------------------------------------------------------------------------

PAIRS = (("k", "1"), ("k", "2"), ("b-bin", b"\x00\xff"), ("b-bin", b""), ("empty", ""))
JSON_PAIRS = [["k", "1"], ["k", "2"], ["b-bin", "00ff"], ["b-bin", ""], ["empty", ""]]


@scenario
async def metadata_of_the_client(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "UnaryUnary")(script(["metadata"]), metadata=PAIRS)
    return await outcome_of(rpc)


@scenario
async def metadata_as_an_object(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    rpc = call(channel, "UnaryStream")(script(["metadata"]), metadata=grpc.aio.Metadata(*PAIRS))
    return await outcome_of(rpc)


@scenario
async def metadata_of_the_server(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    steps = script(["headers", JSON_PAIRS], ["trailing", JSON_PAIRS], ["send", "a"])
    return [
        *await outcome_of(call(channel, "UnaryUnary")(steps)),
        *await outcome_of(call(channel, "UnaryStream")(steps)),
        *await outcome_of(call(channel, "StreamUnary")([steps])),
    ]


@scenario
async def initial_metadata_before_any_message(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    steps = script(["headers", [["k", "v"]]], ["gate", "go"], ["send", "a"])
    rpc = call(channel, "UnaryStream")(steps)
    got: Outcome = [sorted(await rpc.initial_metadata()), rpc.done()]
    there.service.gate("go").set()
    return [*got, *await outcome_of(rpc)]


@scenario
async def initial_metadata_come_with_the_first_message(
    channel: grpc.aio.Channel, there: Scene
) -> Outcome:
    rpc = call(channel, "UnaryStream")(script(["send", "a"], ["gate", "go"]))
    got: Outcome = [sorted(await rpc.initial_metadata())]
    there.service.gate("go").set()
    return [*got, *await outcome_of(rpc)]


@scenario
async def initial_metadata_sent_twice(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    steps = script(["headers", [["k", "v"]]], ["headers", [["k", "w"]]])
    return await outcome_of(call(channel, "UnaryUnary")(steps))


@scenario
async def what_the_handler_knows(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    steps = script(["peer"], ["time"])
    return [
        *await outcome_of(call(channel, "UnaryStream")(steps)),
        *await outcome_of(call(channel, "UnaryStream")(steps, timeout=20)),
    ]


# --- failing ----------------------------------------------------------------------------------------

FAILURES: dict[str, list[list[Any]]] = {
    "abort": [["abort", "NOT_FOUND", "gone", [["t", "1"], ["t-bin", "00"]]]],
    "abort_after_messages": [["send", "a"], ["send", "b"], ["abort", "ABORTED", "redo", []]],
    "abort_keeps_what_was_set": [
        ["trailing", [["t", "1"]]],
        ["code", "NOT_FOUND", "set before"],
        ["abort", "ABORTED", "", []],
    ],
    "abort_with_headers": [["headers", [["h", "1"]]], ["abort", "ABORTED", "redo", []]],
    "raise": [["raise", "boo"]],
    "raise_after_a_message": [["send", "a"], ["raise", "boo"]],
    "raise_with_a_code": [
        ["code", "DATA_LOSS", "lost"],
        ["trailing", [["t", "1"]]],
        ["raise", "boo"],
    ],
    "code": [["trailing", [["t", "1"]]], ["send", "a"], ["code", "NOT_FOUND", "no such thing"]],
    "words_beyond_ascii": [["abort", "ABORTED", "nö 漢", []]],
}


def _failing(name: str, kind: str) -> None:
    async def run(channel: grpc.aio.Channel, there: Scene) -> Outcome:
        steps = script(*FAILURES[name])
        request: Any = [steps] if kind.startswith("Stream") else steps
        return await outcome_of(call(channel, kind)(request))

    SCENARIOS[f"{name}_{kind}"] = run


for _name in FAILURES:
    for _kind in ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"):
        _failing(_name, _kind)


@scenario
async def unknown_method(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    return await outcome_of(call(channel, "Missing")(b""))


@scenario
async def messages_before_a_failure_are_read(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    steps = script(["send", "a"], ["send", "b"], ["abort", "ABORTED", "redo", []])
    rpc = call(channel, "UnaryStream")(steps)
    await asyncio.wait_for(there.service.ended.wait(), 30)
    got: Outcome = [await rpc.read(), await rpc.read()]
    try:
        got.append(await rpc.read())
    except grpc.aio.AioRpcError as error:
        got.append(error.code())
    return got


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
async def response_over_the_limit(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    steps = script(["send_bytes", 5_000_000])
    return [
        *await outcome_of(call(channel, "UnaryUnary")(steps)),
        *await outcome_of(call(channel, "UnaryStream")(steps)),
    ]


@scenario
async def request_over_the_limit(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    large = b"x" * 5_000_000
    return [
        *await outcome_of(call(channel, "UnaryUnary")(large)),
        *await outcome_of(call(channel, "UnaryStream")(large)),
        *await outcome_of(call(channel, "StreamUnary")([script(["echo"]), large])),
    ]


# --- cancelling and deadlines -----------------------------------------------------------------------


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
async def requests_that_fail_to_come(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    async def requests() -> AsyncIterator[bytes]:
        yield script(["echo"])
        raise LookupError

    return await outcome_of(call(channel, "StreamStream")(requests()))


@scenario
async def server_ends_while_requests_come(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    async def requests() -> AsyncIterator[bytes]:
        yield script(["read"], ["abort", "ABORTED", "enough", []])
        yield b"1"
        await asyncio.Event().wait()

    return await outcome_of(call(channel, "StreamStream")(requests()))


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
async def deadline_that_is_far_off(channel: grpc.aio.Channel, there: Scene) -> Outcome:
    make = call(channel, "UnaryUnary")
    return [await make(script(["send", "a"]), timeout=after) for after in (1e7, 1e9)]


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


PLAIN_RUNS = 5
"""How often a scenario is run without a tunnel to come out as it did through one.

grpc.aio itself has races: a status may come before the initial metadata that were sent before it.
"""


@requirement("tunnel.parity")
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_call_through_a_tunnel_comes_out_as_without(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def run(way: str) -> Outcome:
        async with scene() as there:
            outcome = await asyncio.wait_for(SCENARIOS[name](there.channels[way], there), 40)
            await asyncio.wait_for(there.service.settled(), 30)
            seen = [] if name in CUT_SHORT else there.service.seen
            return [*outcome, *sorted(set(seen))]

    caplog.set_level(logging.CRITICAL)
    through = asyncio.run(run("tunnel"))
    plain: Outcome = []
    for _ in range(PLAIN_RUNS):
        plain = asyncio.run(run("plain"))
        if plain == through:
            return
    assert through == plain
