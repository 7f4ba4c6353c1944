"""Running requests: each ends in exactly one answer, whatever its handler does."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from tests.unit.session.exchanges import read_all

from linkspan_contract.envelope import Request, RequestId
from linkspan_session.answer_streams import PlainStream
from linkspan_session.answers import (
    CANCELLED,
    SESSION_ENDED,
    SHUTTING_DOWN,
    TIMED_OUT,
    Answer,
    Failed,
    Result,
)
from linkspan_session.calls import RunningCall, RunningCalls
from linkspan_session.errors import AnswerUnrecordedError, StoreUnavailableError
from linkspan_session.exchange import Exchange
from linkspan_session.kernel import Call
from linkspan_session.outlets import SilentOutlet
from linkspan_session.store import Changes

LONG_SECONDS = 30.0


class Settling:
    """A settlement that does as it is told."""

    def __init__(self, settle: Callable[[Answer], Awaitable[None]]) -> None:
        self._settle = settle
        self.heard: list[str] = []

    async def changes(self, answer: Answer) -> Changes | None:
        await self._settle(answer)
        return None

    def committed(self) -> None:
        self.heard.append("committed")

    def over(self) -> None:
        self.heard.append("over")


class Desk:
    """A table of calls, and what each was answered."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.calls = RunningCalls(tasks)

    def start(
        self,
        answer: Coroutine[Any, Any, Answer],
        *,
        request_id: RequestId = 1,
        timeout_seconds: float = LONG_SECONDS,
        settlement: Settling | None = None,
    ) -> RunningCall:
        stream = PlainStream(Exchange())
        call = Call(SilentOutlet(stream), request_id=request_id, params=None, headers=())
        return self.calls.start(
            Request(request_id, "x", None),
            call,
            stream,
            answer,
            timeout_seconds=timeout_seconds,
            settlement=settlement,
        )


def exchange_of(running: RunningCall) -> Exchange:
    assert isinstance(running.stream, PlainStream)
    return running.stream.exchange


async def answers(running: RunningCall) -> list[dict[str, Any]]:
    return [json.loads(event.message.json) for event in await read_all(exchange_of(running))]


async def only_answer(running: RunningCall) -> dict[str, Any]:
    (answer,) = await answers(running)
    return answer


def error_of(reason: Failed, request_id: RequestId = 1) -> dict[str, Any]:
    error = {"code": reason.code, "message": reason.message}
    return {"jsonrpc": "2.0", "id": request_id, "error": error}


def run(scenario: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            desk = Desk(tasks)
            await scenario(desk)
            await desk.calls.wait()
        assert len(desk.calls) == 0

    asyncio.run(main())


async def say(text: str) -> Answer:
    return Result({"text": text})


async def wait_for_ever() -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


async def running_now() -> None:
    """Let what was started get as far as its first wait."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_what_the_handler_returns_is_the_answer() -> None:
    async def scenario(desk: Desk) -> None:
        running = desk.start(say("hi"), request_id="a")
        assert len(desk.calls) == 1
        answer = {"jsonrpc": "2.0", "id": "a", "result": {"text": "hi"}}
        assert await answers(running) == [answer]

    run(scenario)


def test_a_handler_over_its_time_is_stopped_and_answered_for() -> None:
    stopped: list[str] = []

    async def work() -> Answer:
        try:
            return await wait_for_ever()
        finally:
            stopped.append("stopped")

    async def scenario(desk: Desk) -> None:
        running = desk.start(work(), timeout_seconds=0.01)
        assert await answers(running) == [error_of(TIMED_OUT)]

    run(scenario)
    assert stopped == ["stopped"]


@pytest.mark.parametrize("reason", [CANCELLED, SESSION_ENDED, SHUTTING_DOWN])
def test_a_stopped_handler_is_answered_for_with_the_reason(reason: Failed) -> None:
    async def scenario(desk: Desk) -> None:
        running = desk.start(wait_for_ever())
        await running_now()
        desk.calls.stop(1, reason)
        assert running.call.cancel_requested.is_set()
        assert await answers(running) == [error_of(reason)]

    run(scenario)


def test_a_call_stopped_before_it_began_is_answered_for() -> None:
    async def scenario(desk: Desk) -> None:
        running = desk.start(wait_for_ever())
        desk.calls.stop(1, CANCELLED)
        assert await answers(running) == [error_of(CANCELLED)]

    run(scenario)


def test_the_first_reason_to_stop_is_the_one_told() -> None:
    async def scenario(desk: Desk) -> None:
        running = desk.start(wait_for_ever())
        await running_now()
        running.stop(CANCELLED)
        running.stop(SHUTTING_DOWN)
        assert await answers(running) == [error_of(CANCELLED)]

    run(scenario)


def test_a_handler_that_swallows_its_cancellation_is_still_answered_for() -> None:
    async def stubborn() -> Answer:
        try:
            return await wait_for_ever()
        except asyncio.CancelledError:
            return Result({"text": "never mind"})

    async def scenario(desk: Desk) -> None:
        running = desk.start(stubborn())
        await running_now()
        desk.calls.stop(1, CANCELLED)
        assert await answers(running) == [error_of(CANCELLED)]

    run(scenario)


def test_stopping_after_the_answer_changes_nothing() -> None:
    async def scenario(desk: Desk) -> None:
        running = desk.start(say("done"))
        await desk.calls.wait()
        running.stop(CANCELLED)
        assert await answers(running) == [{"jsonrpc": "2.0", "id": 1, "result": {"text": "done"}}]

    run(scenario)


def test_stopping_an_id_that_nothing_runs_under_is_no_error() -> None:
    async def scenario(desk: Desk) -> None:
        running = desk.start(say("done"))
        desk.calls.stop(2, CANCELLED)
        assert "result" in (await answers(running))[0]

    run(scenario)


def test_equal_ids_get_each_its_own_answer() -> None:
    async def scenario(desk: Desk) -> None:
        runnings = [desk.start(say(text)) for text in ("one", "two", "three")]
        texts = [(await only_answer(each))["result"]["text"] for each in runnings]
        assert texts == ["one", "two", "three"]

    run(scenario)


def test_stopping_all_stops_each() -> None:
    async def scenario(desk: Desk) -> None:
        runnings = [desk.start(wait_for_ever(), request_id=n) for n in (1, 2)]
        await running_now()
        desk.calls.stop_all(SHUTTING_DOWN)
        assert [await only_answer(each) for each in runnings] == [
            error_of(SHUTTING_DOWN, 1),
            error_of(SHUTTING_DOWN, 2),
        ]

    run(scenario)


def test_what_settles_a_call_sees_its_answer_and_is_not_cut_off() -> None:
    seen: list[Answer] = []
    heard: list[str] = []

    async def scenario(desk: Desk) -> None:
        async def record(answer: Answer) -> None:
            desk.calls.stop_all(CANCELLED)
            await asyncio.sleep(0)
            seen.append(answer)

        settling = Settling(record)
        running = desk.start(say("done"), settlement=settling)
        assert "result" in (await answers(running))[0]
        await desk.calls.wait()
        heard.extend(settling.heard)

    run(scenario)
    assert seen == [Result({"text": "done"})]
    assert heard == ["over"]


def test_a_call_that_cannot_be_settled_fails_and_is_told_so() -> None:
    async def scenario(desk: Desk) -> None:
        async def fail(answer: Answer) -> None:
            raise StoreUnavailableError

        settling = Settling(fail)
        running = desk.start(say("done"), settlement=settling)
        with pytest.raises(AnswerUnrecordedError):  # not what promises that nothing was begun
            await answers(running)
        await desk.calls.wait()
        assert settling.heard == ["over"]

    run(scenario)


def test_a_handler_outlives_its_reader() -> None:
    finished: list[str] = []

    async def scenario(desk: Desk) -> None:
        go_on = asyncio.Event()

        async def work() -> Answer:
            await go_on.wait()
            finished.append("finished")
            return await say("nobody hears")

        running = desk.start(work())
        await running_now()
        exchange_of(running).detach()
        go_on.set()
        await desk.calls.wait()
        assert await answers(running) == []

    run(scenario)
    assert finished == ["finished"]
