"""Which requests are turned away by how far behind a process is; and that it looks only if need be."""

import asyncio
import time

import pytest

from linkspan_process.overload import (
    LASTING,
    LEAST_RUNNING,
    MOST_SHARE,
    LoadGate,
    QueueGate,
    Shedder,
)

TARGET_SECONDS = 0.1


def behind(*delays_seconds: float) -> Shedder:
    shedder = Shedder(TARGET_SECONDS)
    for delay_seconds in delays_seconds:
        shedder.measured(delay_seconds)
    return shedder


@pytest.mark.parametrize(
    ("delays_seconds", "share"),
    [
        ([], 0),
        ([0.1] * 9, 0),
        ([9.0], 0),  # a handler that blocks, once
        ([9.0, 0.0, 9.0, 0.0], 0),
        ([0.15, 0.15], 0.5),
        ([9.0, 0.125], 0.25),  # it goes by the newest
        ([0.2, 0.2], MOST_SHARE),
        ([9.0, 9.0], MOST_SHARE),
        ([9.0, 9.0, 0.05], 0),
        ([9.0, 9.0, 0.05, 9.0], 0),
    ],
)
def test_the_share_grows_from_the_target_to_twice_the_target_if_the_delay_lasts(
    delays_seconds: list[float], share: float
) -> None:
    assert behind(*delays_seconds).share == pytest.approx(share)


@pytest.mark.parametrize(
    ("delay_seconds", "turned_away"), [(0.1, 0), (0.125, 25), (0.15, 50), (5, 98)]
)
def test_of_a_hundred_requests_as_many_are_turned_away_as_the_share_says(
    delay_seconds: float, turned_away: int
) -> None:
    shedder = behind(*[delay_seconds] * LASTING)
    assert sum(shedder.turns_away() for _ in range(100)) == pytest.approx(turned_away, abs=1)


def test_those_turned_away_are_spread_evenly() -> None:
    shedder = Shedder(0.125)
    for _ in range(LASTING):
        shedder.measured(0.1875)
    assert [shedder.turns_away() for _ in range(6)] == [False, True] * 3


def test_a_loop_that_is_blocked_over_and_over_turns_away_and_recovers_when_it_is_not() -> None:
    async def main() -> None:
        gate = LoadGate(0.02)
        while not gate.turns_away(LEAST_RUNNING):
            time.sleep(0.05)  # noqa: ASYNC251 - it is what a loop does that has too much to do
            await asyncio.sleep(0)
        let_through = 0
        while let_through < 100:  # the delay is over; this asks on
            let_through = 0 if gate.turns_away(LEAST_RUNNING) else let_through + 1
            await asyncio.sleep(0)

    asyncio.run(main())


def test_a_queue_counts_by_the_shortest_wait_of_a_while() -> None:
    gate = QueueGate(TARGET_SECONDS)
    now = 0.0
    for _ in range(10):  # most wait for long, but not all: there is no queue that stays
        for seconds in (5.0, 5.0, 0.01, 5.0):
            now += 0.02
            gate.waited(seconds, now)
    assert not any(gate.turns_away(LEAST_RUNNING) for _ in range(9))
    for _ in range(10):
        now += 0.1
        gate.waited(0.15, now)
    assert sum(gate.turns_away(LEAST_RUNNING) for _ in range(100)) == pytest.approx(50, abs=1)
    assert not any(gate.turns_away(LEAST_RUNNING - 1) for _ in range(9))
    for _ in range(2):
        now += 0.1
        gate.waited(0.01, now)
    assert not any(gate.turns_away(LEAST_RUNNING) for _ in range(9))


def test_a_queue_of_which_nothing_was_heard_for_long_turns_nobody_away() -> None:
    now = 0.0
    gate = QueueGate(TARGET_SECONDS, clock=lambda: now)
    for _ in range(LASTING):
        now += 0.1
        gate.waited(9.0, now)
    assert sum(gate.turns_away(LEAST_RUNNING) for _ in range(10)) >= 8
    now += 60.0
    assert not any(gate.turns_away(LEAST_RUNNING) for _ in range(10))


def test_with_few_requests_it_does_not_even_look() -> None:
    async def main() -> None:
        gate = LoadGate(1e-9)
        assert not gate.turns_away(LEAST_RUNNING - 1)
        assert not gate.watching
        assert not gate.turns_away(LEAST_RUNNING)
        assert gate.watching
        while gate.watching:  # noqa: ASYNC110 - nobody asks any more
            await asyncio.sleep(0)

    asyncio.run(main())


def test_it_is_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        gate = LoadGate(1e-9)
        for _ in range(20):
            while not gate.turns_away(LEAST_RUNNING):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)

    asyncio.run(main())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
