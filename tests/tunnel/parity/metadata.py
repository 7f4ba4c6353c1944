"""Scenarios of metadata: those of both sides, when they come, and what a handler knows of its call."""

import grpc
from tests.tunnel.parity.scenarios import Outcome, Scenario, collector, outcome_of
from tests.tunnel.scripted import Scene, call, script

SCENARIOS: dict[str, Scenario] = {}
scenario = collector(SCENARIOS)

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
