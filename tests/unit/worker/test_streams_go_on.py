"""A stream whose session server is lost goes on from another, and each event comes once."""

import asyncio
from typing import Final

import grpc
import pytest
from tests.unit.worker.scripted import (
    LONG_SECONDS,
    Step,
    aborts,
    hangs,
    note,
    opened,
    reached,
    refuses,
    result,
    says,
    serving,
    target_of,
)

from linkspan.session.v1.session_service_pb2 import (
    Attempt,
    ErrorReason,
    HandleRequestRequest,
    HandleRequestResponse,
    Listen,
    Post,
)
from linkspan_worker import calls
from linkspan_worker.calls import Answer
from linkspan_worker.sends import Servers, SessionCallError

SESSION: Final = "the-session"
LINK: Final = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
DRAINING: Final = ErrorReason.ERROR_REASON_DRAINING
UNAVAILABLE: Final = grpc.StatusCode.UNAVAILABLE


def post(servers: Servers, *, several: bool = False) -> Answer:
    request = HandleRequestRequest(
        session_id=SESSION, post=Post(message="{}"), attempt=Attempt(key="key")
    )
    return Answer(
        servers, request, routing_key=SESSION, timeout_seconds=LONG_SECONDS, several=several
    )


def listen(servers: Servers, last_event_id: str = "") -> Answer:
    request = HandleRequestRequest(session_id=SESSION, listen=Listen(last_event_id=last_event_id))
    return Answer(servers, request, routing_key=SESSION, timeout_seconds=None)


async def read(answer: Answer) -> tuple[list[HandleRequestResponse], SessionCallError | None]:
    """Read an answer to its end, or to its failure."""
    events: list[HandleRequestResponse] = []
    try:
        while (event := await answer.next()) is not None:
            events.append(event)
    except SessionCallError as failed:
        return events, failed
    return events, None


def test_an_answer_goes_on_behind_the_last_event_that_was_passed_on() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.append(aborts(UNAVAILABLE, opened("e0"), note("1", "e1")))
            a.script.append(says(opened("e2", LINK), note("2", "e3"), result("3", "e4")))
            events, failed = await read(post(servers))
            assert failed is None
            assert [event.message.json for event in events] == ["", "1", "", "2", "3"]
            assert events[0].stream_opened.event_id == "e0"
            assert events[2].stream_opened.event_id == "", "a client primed twice would skip"
            assert events[2].stream_opened.linked_traceparent == LINK
            assert a.requests[1].attempt == Attempt(key="key", begun_before=1, seen_event_id="e1")

    asyncio.run(main())


def test_an_answer_of_which_only_the_priming_is_out_goes_on_behind_that() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.append(aborts(UNAVAILABLE, opened("e0")))
            a.script.append(says(result("done", "e1")))
            events, failed = await read(post(servers))
            assert failed is None
            assert len(events) == 2
            assert a.requests[1].attempt.seen_event_id == "e0"

    asyncio.run(main())


def test_a_stream_without_ids_goes_on_only_if_nothing_of_it_is_out() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.append(aborts(UNAVAILABLE, opened()))
            a.script.append(aborts(UNAVAILABLE, opened(), note("1")))
            events, failed = await read(post(servers))
            assert [event.message.json for event in events] == ["", "", "1"]
            assert failed is not None
            assert failed.failure.code is UNAVAILABLE
            assert not failed.resumable
            assert len(a.requests) == 2

    asyncio.run(main())


def test_an_answer_that_is_given_up_says_that_its_client_can_resume_it() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a), retry_for_seconds=1.0) as servers:
            a.script.append(aborts(UNAVAILABLE, opened("e0")))
            a.script.extend([refuses(DRAINING)] * 50)
            _, failed = await read(post(servers))
            assert failed is not None
            assert failed.resumable

    asyncio.run(main())


def test_of_a_batch_the_answers_that_are_still_owed_come_from_the_next_server() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.append(aborts(UNAVAILABLE, result("1", "e1")))
            a.script.append(says(result("2", "e2")))
            events, failed = await read(post(servers, several=True))
            assert failed is None
            assert [event.message.json for event in events] == ["1", "2"]
            assert a.requests[1].attempt.seen_event_id == "e1"

    asyncio.run(main())


@pytest.mark.parametrize(
    "end",
    [refuses(DRAINING, opened("e0"), note("1", "e1")), aborts(UNAVAILABLE, note("1", "e1"))],
    ids=["drains", "breaks"],
)
def test_a_listening_stream_goes_on_elsewhere(end: Step) -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.extend([end, says(opened(), note("2", "e2"))])
            events, failed = await read(listen(servers))
            assert failed is None
            heard = [event.message.json for event in events if event.HasField("message")]
            assert heard == ["1", "2"]
            assert a.requests[1].listen.last_event_id == "e1"
            assert a.requests[1].attempt == Attempt(), "it is no request that could run twice"

    asyncio.run(main())


@pytest.mark.parametrize("last_event_id", ["", "e7"])
def test_a_listening_stream_that_brought_nothing_begins_where_its_client_said(
    last_event_id: str,
) -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.extend([aborts(UNAVAILABLE, opened()), says(opened(), note("1"))])
            await read(listen(servers, last_event_id))
            assert [each.listen.last_event_id for each in a.requests] == [last_event_id] * 2

    asyncio.run(main())


def test_a_listening_stream_is_moved_as_often_as_servers_drain_or_break() -> None:
    async def main() -> None:
        moves = 20
        async with serving("A") as (a,), reached(target_of(a), retry_for_seconds=1.0) as servers:
            for n in range(0, moves, 2):
                a.script.append(refuses(DRAINING, note(str(n), f"e{n}")))
                a.script.append(aborts(UNAVAILABLE, note(str(n + 1), f"e{n + 1}")))
            a.script.append(says(note("last", "z")))
            events, failed = await read(listen(servers))
            assert failed is None
            assert len(events) == moves + 1

    asyncio.run(main())


def test_a_listening_stream_that_had_nothing_to_say_for_a_while_has_not_failed_in_a_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        moves = 20
        async with serving("A") as (a,), reached(target_of(a), retry_for_seconds=1.0) as servers:
            a.script.extend([refuses(DRAINING, opened("e0"))] * moves)
            a.script.append(says(note("last", "z")))
            events, failed = await read(listen(servers))
            assert failed is None
            assert len(events) == moves + 1

    monkeypatch.setattr(calls, "_SETTLED_SECONDS", 0.0)
    asyncio.run(main())


def test_a_listening_stream_without_ids_goes_on_from_now() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.append(aborts(UNAVAILABLE, opened(), note("1")))
            a.script.append(says(opened("e0"), note("2", "e1")))
            events, failed = await read(listen(servers))
            assert failed is None
            assert [event.message.json for event in events] == ["", "1", "", "2"]
            assert events[2].stream_opened.event_id == "e0", "now there is one to resume from"
            assert a.requests[1].listen.last_event_id == ""

    asyncio.run(main())


def test_a_listening_stream_that_nobody_takes_on_is_given_up() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a), retry_for_seconds=1.0) as servers:
            a.script.extend([refuses(DRAINING, opened("e0"))] * 50)
            events, failed = await read(listen(servers))
            assert failed is not None
            assert failed.failure.reason == DRAINING
            assert len(events) == len(a.requests)
            assert [event.stream_opened.event_id for event in events[:2]] == ["e0", ""]

    asyncio.run(main())


def test_a_listening_stream_whose_last_event_is_gone_ends_and_its_client_comes_back() -> None:
    async def main() -> None:
        unknown = ErrorReason.ERROR_REASON_EVENT_UNKNOWN
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.extend([aborts(UNAVAILABLE, opened("e0")), refuses(unknown)])
            events, failed = await read(listen(servers))
            assert (len(events), failed) == (1, None)
            a.script.append(refuses(unknown))
            _, failed = await read(listen(servers, "never-given"))
            assert failed is not None, "a client that names an unknown event is told"
            assert failed.failure.reason == unknown

    asyncio.run(main())


def test_a_stream_goes_on_from_another_server_when_its_own_dies() -> None:
    async def main() -> None:
        async with serving("A", "B") as both, reached(target_of(*both)) as servers:
            for server in both:
                server.script.append(hangs(opened("e0"), note("1", "e1")))
            answer = post(servers)
            assert await answer.next() == opened("e0")
            assert await answer.next() == note("1", "e1")
            dying, other = both if both[0].requests else reversed(both)
            other.script.clear()
            going_on = asyncio.ensure_future(answer.next())
            await dying.stop()
            assert await going_on == result(other.name)
            assert other.requests[0].attempt.seen_event_id == "e1"

    asyncio.run(main())
