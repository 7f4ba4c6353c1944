"""Scenarios of calls that fail: by a handler, by a limit, by requests that do not come."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from tests.tunnel.parity.scenarios import Outcome, Scenario, collector, outcome_of
from tests.tunnel.scripted import Scene, call, script

SCENARIOS: dict[str, Scenario] = {}
scenario = collector(SCENARIOS)

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
