"""Calls through a tunnel come out as they do without one: same scenarios over both, side by side."""

import asyncio
import logging

import pytest
from tests.requirements import requirement
from tests.tunnel.parity import calls, endings, failures, metadata
from tests.tunnel.parity.scenarios import Outcome
from tests.tunnel.scripted import scene

CUT_SHORT = (
    "request_over_the_limit",
    "requests_that_fail_to_come",
    "response_over_the_limit",
)
"""Scenarios in which it is chance how far handlers come before they are cut short."""

SCENARIOS = {
    **calls.SCENARIOS,
    **metadata.SCENARIOS,
    **failures.SCENARIOS,
    **endings.SCENARIOS,
}

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
