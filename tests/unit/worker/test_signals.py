"""What ends or interrupts replies."""

import asyncio
from typing import Any, Final

import pytest

from linkspan_worker.signals import Sign, Signal, Ticker, Watcher

TICK_SECONDS: Final = 0.01


class Counts:
    """A watcher that counts how often it was called, and says when that is often enough."""

    def __init__(self, enough: int = 1) -> None:
        self.count = 0
        self.enough = asyncio.Event()
        self._enough = enough

    def __call__(self) -> None:
        self.count += 1
        if self.count >= self._enough:
            self.enough.set()


def count_timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note for how long each timer is set that is set from now on."""
    loop = asyncio.get_running_loop()
    set_timer, timers = loop.call_later, list[float]()

    def call_later(seconds: float, callback: Any, *arguments: Any) -> asyncio.TimerHandle:
        timers.append(seconds)
        return set_timer(seconds, callback, *arguments)

    monkeypatch.setattr(loop, "call_later", call_later)
    return timers


async def some_ticks() -> None:
    """Let the time of some ticks go by."""
    loop, passed = asyncio.get_running_loop(), asyncio.Event()
    loop.call_at(loop.time() + 5 * TICK_SECONDS, passed.set)
    await passed.wait()


def test_a_signal_is_told_once_to_all_who_watch() -> None:
    signal = Signal()
    watchers = [Counts(), Counts()]
    for watcher in watchers:
        signal.watch(watcher)
    assert not signal.happened
    signal.tell()
    signal.tell()
    assert signal.happened
    assert [watcher.count for watcher in watchers] == [1, 1]


def test_a_signal_is_not_told_to_who_watches_no_more() -> None:
    signal, left, stays = Signal(), Counts(), Counts()
    signal.watch(left)
    signal.watch(stays)
    signal.unwatch(left)
    signal.unwatch(left)  # is no error
    signal.tell()
    assert (left.count, stays.count) == (0, 1)
    signal.unwatch(stays)


def test_who_watches_a_signal_that_has_happened_looks_himself() -> None:
    signal, late = Signal(), Counts()
    signal.tell()
    signal.watch(late)
    assert signal.happened
    assert late.count == 0


def test_a_watcher_may_leave_and_come_while_a_signal_is_told() -> None:
    signal = Signal()
    told: list[str] = []

    def leaves() -> None:
        told.append("leaves")
        signal.unwatch(leaves)
        signal.watch(comes)

    def comes() -> None:
        told.append("comes")

    signal.watch(leaves)
    signal.tell()
    assert told == ["leaves"]


def test_a_ticker_tells_all_who_watch_again_and_again() -> None:
    async def scene() -> None:
        ticker = Ticker(TICK_SECONDS)
        one, other = Counts(enough=3), Counts(enough=3)
        ticker.watch(one)
        ticker.watch(other)
        started = asyncio.get_running_loop().time()
        async with asyncio.timeout(30):
            await one.enough.wait()
            await other.enough.wait()
        assert asyncio.get_running_loop().time() - started >= 2 * TICK_SECONDS
        assert one.count == other.count  # each at each tick, by one timer

    asyncio.run(scene())


def test_a_ticker_does_not_tell_who_watches_no_more() -> None:
    async def scene() -> None:
        ticker = Ticker(TICK_SECONDS)
        left, stays = Counts(), Counts(enough=2)
        ticker.watch(left)
        ticker.watch(stays)
        ticker.unwatch(left)
        async with asyncio.timeout(30):
            await stays.enough.wait()
        assert left.count == 0

    asyncio.run(scene())


def test_a_ticker_is_silent_while_nobody_watches_and_goes_on_when_somebody_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        ticker = Ticker(TICK_SECONDS)
        first = Counts()
        ticker.watch(first)
        async with asyncio.timeout(30):
            await first.enough.wait()
            ticker.unwatch(first)
            await some_ticks()
            timers = count_timers(monkeypatch)
            await some_ticks()
            assert timers == []
            second = Counts(enough=2)
            ticker.watch(second)
            await second.enough.wait()
        assert first.count == 1

    asyncio.run(scene())


def test_a_watcher_may_leave_while_it_is_told_of_a_tick() -> None:
    async def scene() -> None:
        ticker = Ticker(TICK_SECONDS)
        broken: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        told: list[int] = []

        def leaver(number: int) -> Watcher:
            def leaves() -> None:
                ticker.unwatch(leaves)
                told.append(number)

            return leaves

        for number in range(10):
            ticker.watch(leaver(number))
        stays = Counts(enough=2)
        ticker.watch(stays)
        async with asyncio.timeout(30):
            await stays.enough.wait()
        assert sorted(told) == list(range(10))
        assert broken == []

    asyncio.run(scene())


# --- signs ---------------------------------------------------------------------------------------


def test_a_sign_wakes_who_waits_and_counts_until_it_is_taken_back() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        sign = Sign(loop)
        loop.call_soon(sign.set)
        loop.call_soon(sign.set)  # twice before anybody looks is once
        await sign.wait()
        await sign.wait()  # it is given still
        sign.clear()
        waiting = asyncio.ensure_future(sign.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        sign.set()
        await waiting

    asyncio.run(scene())


def test_who_stops_waiting_for_a_sign_can_wait_again() -> None:
    async def scene() -> None:
        sign = Sign(asyncio.get_running_loop())
        waiting = asyncio.ensure_future(sign.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        again = asyncio.ensure_future(sign.wait())
        await asyncio.sleep(0)
        sign.set()
        await again

    asyncio.run(scene())
