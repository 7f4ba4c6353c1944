"""What a scenario is, and how it says all that can be seen of a call."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from tests.tunnel.scripted import Scene

Outcome = list[Any]
Scenario = Callable[[grpc.aio.Channel, Scene], Awaitable[Outcome]]


def collector(scenarios: dict[str, Scenario]) -> Callable[[Scenario], Scenario]:
    """Make the decorator that puts a scenario among these, under its name, to be run over both."""

    def scenario(run: Scenario) -> Scenario:
        scenarios[run.__name__] = run
        return run

    return scenario


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
