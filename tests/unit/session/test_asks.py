"""What handlers ask their client: who gets which answer, and how a wait ends without one."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from linkspan.session.v1.session_service_pb2 import HandleRequestResponse
from linkspan_contract.envelope import INTERNAL_ERROR, Response
from linkspan_session.answers import SESSION_ENDED, TIMED_OUT, UNDELIVERED, AskError, Failed
from linkspan_session.asks import Asks


class Client:
    """A client that is there, or not, and remembers what it was asked."""

    def __init__(self, *, listening: bool = True) -> None:
        self.asked: list[dict[str, Any]] = []
        self._listening = listening
        self._heard = asyncio.Event()

    async def send(self, event: HandleRequestResponse) -> bool:
        self.asked.append(json.loads(event.message.json))
        self._heard.set()
        return self._listening

    async def question(self) -> dict[str, Any]:
        """Wait until there is one that was not taken yet."""
        async with asyncio.timeout(30):
            await self._heard.wait()
        self._heard.clear()
        return self.asked[-1]


def run(scenario: Callable[[Asks, Client], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await scenario(Asks(), Client())

    asyncio.run(main())


def ask(
    asks: Asks, client: Client, method: str = "roots/list", **options: Any
) -> "asyncio.Task[Any]":
    return asyncio.ensure_future(
        asks.ask(
            client.send,
            method,
            options.get("params"),
            timeout_seconds=options.get("timeout_seconds"),
            on_progress=options.get("on_progress"),
        )
    )


async def failure_of(task: "asyncio.Task[Any]") -> Failed:
    with pytest.raises(AskError) as failed:
        await task
    return failed.value.reason


def test_each_question_gets_its_own_answer() -> None:
    async def scenario(asks: Asks, client: Client) -> None:
        first = ask(asks, client, "roots/list")
        one = (await client.question())["id"]
        second = ask(asks, client, "elicitation/create", params={"message": "?"})
        other = await client.question()
        assert (other["method"], other["params"]) == ("elicitation/create", {"message": "?"})
        assert asks.take(Response(other["id"], {"action": "accept"}, None)) is not None
        assert asks.take(Response(one, {"roots": []}, None)) is not None
        assert (await first, await second) == ({"roots": []}, {"action": "accept"})

    run(scenario)


def test_an_answer_under_the_id_as_a_string_is_taken() -> None:
    async def scenario(asks: Asks, client: Client) -> None:
        task = ask(asks, client)
        assert asks.take(Response(str((await client.question())["id"]), {}, None)) is not None
        assert await task == {}

    run(scenario)


def test_a_second_answer_and_one_to_nothing_are_dropped() -> None:
    async def scenario(asks: Asks, client: Client) -> None:
        assert asks.take(Response(1, {}, None)) is None
        task = ask(asks, client)
        question = (await client.question())["id"]
        assert asks.take(Response(question, {"n": 1}, None)) is not None
        assert asks.take(Response(question, {"n": 2}, None)) is None
        assert await task == {"n": 1}
        assert asks.take(Response(question, {"n": 3}, None)) is None

    run(scenario)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"code": -1, "message": "no", "data": 7}, Failed(-1, "no", 7)),
        ({}, Failed(INTERNAL_ERROR, "The client answered with an error")),
        ({"code": "x", "message": 5}, Failed(INTERNAL_ERROR, "The client answered with an error")),
    ],
)
def test_an_error_of_the_client_is_told(error: dict[str, Any], reason: Failed) -> None:
    async def scenario(asks: Asks, client: Client) -> None:
        task = ask(asks, client)
        asks.take(Response((await client.question())["id"], None, error))
        assert await failure_of(task) == reason

    run(scenario)


def test_without_a_listener_the_question_fails_at_once() -> None:
    async def scenario(asks: Asks, client: Client) -> None:
        assert await failure_of(ask(asks, Client(listening=False))) == UNDELIVERED

    run(scenario)


def test_a_question_over_its_time_fails_and_is_forgotten() -> None:
    async def scenario(asks: Asks, client: Client) -> None:
        task = ask(asks, client, timeout_seconds=0.01)
        question = (await client.question())["id"]
        assert await failure_of(task) == TIMED_OUT
        assert asks.take(Response(question, {}, None)) is None

    run(scenario)


def test_a_cancelled_question_is_forgotten() -> None:
    async def scenario(asks: Asks, client: Client) -> None:
        task = ask(asks, client)
        question = (await client.question())["id"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asks.take(Response(question, {}, None)) is None

    run(scenario)


def test_giving_up_ends_every_wait() -> None:
    async def scenario(asks: Asks, client: Client) -> None:
        tasks = [ask(asks, client) for _ in range(2)]
        await client.question()
        asks.give_up()
        assert [await failure_of(task) for task in tasks] == [SESSION_ENDED, SESSION_ENDED]

    run(scenario)


def test_progress_reaches_who_asked_for_it_and_nobody_else() -> None:
    async def scenario(asks: Asks, client: Client) -> None:
        told: list[tuple[float, float | None, str | None]] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            told.append((progress, total, message))

        quiet = ask(asks, client)
        silent = await client.question()
        assert "params" not in silent
        task = ask(asks, client, on_progress=on_progress)
        token = (await client.question())["params"]["_meta"]["progressToken"]
        await asks.report({"progressToken": token, "progress": 1})
        await asks.report({"progressToken": str(token), "progress": 2, "total": 4, "message": "m"})
        await asks.report({"progressToken": token, "progress": 3, "total": "4", "message": 5})
        for nonsense in (
            None,
            {},
            {"progressToken": token},
            {"progressToken": token, "progress": "x"},
            {"progressToken": [token], "progress": 9},
            {"progressToken": silent["id"], "progress": 9},
            {"progressToken": True, "progress": 9},
            {"progressToken": 99, "progress": 9},
        ):
            await asks.report(nonsense)
        for waiting in (quiet, task):
            waiting.cancel()
        assert told == [(1, None, None), (2, 4, "m"), (3, None, None)]

    run(scenario)


def test_a_token_of_true_is_not_the_token_one() -> None:
    async def scenario(asks: Asks, client: Client) -> None:
        told: list[float] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            told.append(progress)

        task = ask(asks, client, on_progress=on_progress)
        assert (await client.question())["params"]["_meta"]["progressToken"]
        await asks.report({"progressToken": True, "progress": 1})
        task.cancel()
        assert told == []

    run(scenario)


def test_no_two_processes_give_out_the_same_id() -> None:
    async def scenario(asks: Asks, client: Client) -> None:
        task = ask(asks, client)
        first = (await client.question())["id"]
        after_a_restart, its_client = Asks(), Client()
        other = ask(after_a_restart, its_client)
        assert (await its_client.question())["id"] != first
        assert after_a_restart.take(Response(first, {"action": "accept"}, None)) is None
        for each in (task, other):
            each.cancel()

    run(scenario)
