"""One request and as many calls as it takes: against real gRPC servers that follow a script."""

import asyncio
import time
from itertools import pairwise
from typing import Final

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from tests.support.ports import free_port
from tests.support.waiting import BUSY_SECONDS
from tests.unit.worker.proxy import Proxy
from tests.unit.worker.scripted import (
    ACCEPTED,
    LONG_SECONDS,
    ScriptedServer,
    aborts,
    hangs,
    reached,
    refuses,
    refuses_init,
    result,
    serving,
    target_of,
)

from linkspan.session.v1.session_service_pb2 import (
    Attempt,
    End,
    ErrorReason,
    HandleRequestRequest,
    InitRequest,
    Post,
)
from linkspan_worker.attempts import MAX_BEGUN, STORE_SECONDS
from linkspan_worker.calls import Answer, Nothing, init
from linkspan_worker.sends import CONNECT_SECONDS, RESEND_EVENT, Servers, SessionCallError

SESSION: Final = "the-session"
KEY: Final = "the-key"
TIMEOUT_SECONDS: Final = 20.0

ELSEWHERE: Final = ErrorReason.ERROR_REASON_SESSION_ELSEWHERE
DRAINING: Final = ErrorReason.ERROR_REASON_DRAINING
UNAVAILABLE: Final = grpc.StatusCode.UNAVAILABLE


def request(session_id: str = SESSION) -> HandleRequestRequest:
    return HandleRequestRequest(
        session_id=session_id, post=Post(message="{}"), attempt=Attempt(key=KEY)
    )


def ask(
    servers: Servers,
    asked: HandleRequestRequest | None = None,
    *,
    timeout_seconds: float | None = TIMEOUT_SECONDS,
    routing_key: str = SESSION,
) -> Answer:
    return Answer(
        servers, asked or request(), routing_key=routing_key, timeout_seconds=timeout_seconds
    )


async def text_of(answer: Answer) -> str:
    event = await answer.next()
    assert event is not None
    assert await answer.next() is None
    return event.message.json


async def failure_of(answer: Answer) -> SessionCallError:
    async def read() -> None:
        while await answer.next() is not None:
            pass

    with pytest.raises(SessionCallError) as failed:
        await read()
    return failed.value


async def placed_and_other(
    servers: Servers, both: list[ScriptedServer]
) -> tuple[ScriptedServer, ScriptedServer]:
    """Find out which of two servers the session is placed on."""
    name = await text_of(ask(servers))
    first, second = both
    for server in both:
        server.requests.clear()
    return (first, second) if first.name == name else (second, first)


def test_the_first_send_says_that_it_is_the_first_and_carries_the_deadline() -> None:
    async def main() -> None:
        async with serving("A") as (server,), reached(target_of(server)) as servers:
            assert await text_of(ask(servers)) == "A"
            assert server.requests == [request()]
            left = server.seconds_left[0]
            assert left is not None
            assert TIMEOUT_SECONDS - 10 < left < TIMEOUT_SECONDS + 0.5  # gRPC rounds it up
            assert server.metadata[0]["linkspan-routing-key"] == SESSION

    asyncio.run(main())


def test_a_redirect_is_followed_and_remembered() -> None:
    async def main() -> None:
        async with serving("A", "B") as (a, b), reached(target_of(a)) as servers:
            a.script.append(refuses(ELSEWHERE, owner=b.owner))
            assert await text_of(ask(servers)) == "B"
            assert await text_of(ask(servers)) == "B"
            assert len(a.requests) == 1
            assert b.requests == [request(), request()]

    asyncio.run(main())


def test_an_owner_that_owns_the_session_no_more_says_who_does() -> None:
    async def main() -> None:
        async with serving("A", "B", "C") as (a, b, c), reached(target_of(a)) as servers:
            servers.owners.put(SESSION, b.owner)
            b.script.append(refuses(ELSEWHERE, owner=c.owner))
            assert await text_of(ask(servers)) == "C"
            assert servers.owners.get(SESSION) == c.owner
            c.script.append(refuses(ELSEWHERE))
            assert await text_of(ask(servers)) == "A"
            assert servers.owners.get(SESSION) == ""

    asyncio.run(main())


def test_two_servers_that_send_each_other_callers_are_given_up() -> None:
    async def main() -> None:
        async with (
            serving("A", "B") as (a, b),
            reached(target_of(a), retry_for_seconds=1.0) as servers,
        ):
            a.script.extend([refuses(ELSEWHERE, owner=b.owner)] * 50)
            b.script.extend([refuses(ELSEWHERE, owner=a.owner)] * 50)
            assert (await failure_of(ask(servers))).failure.reason == ELSEWHERE
            assert 2 < len(a.requests) + len(b.requests) < 40

    asyncio.run(main())


@pytest.mark.parametrize("reason", [DRAINING, ErrorReason.ERROR_REASON_OVERLOADED])
def test_a_server_that_takes_nothing_is_left_for_another(reason: ErrorReason.ValueType) -> None:
    async def main() -> None:
        async with serving("A", "B") as both, reached(target_of(*both)) as servers:
            placed, other = await placed_and_other(servers, both)
            placed.script.extend([refuses(reason)] * 50)
            assert await text_of(ask(servers)) == other.name
            assert other.requests[0].attempt.begun_before == 0
            assert "linkspan-routing-key" not in other.metadata[-1]

    asyncio.run(main())


def test_a_refusal_goes_to_the_client_when_the_window_is_over() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a), retry_for_seconds=1.0) as servers:
            a.script.extend([refuses(DRAINING)] * 50)
            failed = await failure_of(ask(servers))
            assert failed.failure.reason == DRAINING
            assert not failed.resumable
            assert len(a.requests) > 2
            assert {each.attempt.begun_before for each in a.requests} == {0}

    asyncio.run(main())


def test_a_store_that_is_away_is_waited_for_for_a_second() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            away = ErrorReason.ERROR_REASON_STORE_UNAVAILABLE
            a.script.extend([refuses(away)] * 50)
            began = time.monotonic()
            assert (await failure_of(ask(servers))).failure.reason == away
            assert STORE_SECONDS - 0.1 <= time.monotonic() - began < STORE_SECONDS + BUSY_SECONDS
            a.script.clear()
            a.script.append(refuses(away))
            assert await text_of(ask(servers)) == "A"

    asyncio.run(main())


def test_the_requests_deadline_bounds_all_its_sends() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.extend([refuses(DRAINING)] * 50)
            began = time.monotonic()
            failure = (await failure_of(ask(servers, timeout_seconds=1.0))).failure
            # Its time is over between two sends, or during one.
            over = failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
            assert over or failure.reason == DRAINING
            assert time.monotonic() - began < 1.0 + BUSY_SECONDS
            left = [seconds for seconds in a.seconds_left if seconds is not None]
            rounded = 0.02  # up, by gRPC on the wire
            assert all(after < before + rounded for before, after in pairwise(left))
            assert left[-1] < left[0] - rounded
            a.script.clear()
            a.script.append(hangs())
            failed = await failure_of(ask(servers, timeout_seconds=0.5))
            assert failed.failure.code is grpc.StatusCode.DEADLINE_EXCEEDED

    asyncio.run(main())


@pytest.mark.parametrize("code", [UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_a_call_that_broke_is_sent_again_as_one_that_may_have_begun(code: grpc.StatusCode) -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.append(aborts(code))
            assert await text_of(ask(servers)) == "A"
            assert [each.attempt.begun_before for each in a.requests] == [0, 1]
            assert {each.attempt.key for each in a.requests} == {KEY}
            assert a.requests[1].unreachable_owner == ""

    asyncio.run(main())


def test_a_session_that_moved_during_the_call_is_asked_for_again() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.append(refuses(ErrorReason.ERROR_REASON_SESSION_MOVED))
            assert await text_of(ask(servers)) == "A"
            assert [each.attempt.begun_before for each in a.requests] == [0, 1]

    asyncio.run(main())


def test_a_request_that_breaks_one_server_after_another_is_given_up() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.extend([aborts(UNAVAILABLE)] * 50)
            assert (await failure_of(ask(servers))).failure.code is UNAVAILABLE
            assert len(a.requests) == MAX_BEGUN

    asyncio.run(main())


def test_a_doubt_is_not_hidden_by_a_later_refusal() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a), retry_for_seconds=1.0) as servers:
            a.script.extend([aborts(UNAVAILABLE), *[refuses(DRAINING)] * 50])
            failure = (await failure_of(ask(servers))).failure
            assert failure.reason == ErrorReason.ERROR_REASON_UNSPECIFIED
            assert {each.attempt.begun_before for each in a.requests[1:]} == {1}

    asyncio.run(main())


def test_an_owner_that_refuses_connections_is_named_to_whoever_is_placed() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            owner = f"127.0.0.1:{free_port()}#gone"
            servers.owners.put(SESSION, owner)
            unreachable = ErrorReason.ERROR_REASON_OWNER_UNREACHABLE
            a.script.append(refuses(unreachable))
            assert await text_of(ask(servers)) == "A"
            assert [each.unreachable_owner for each in a.requests] == [owner, owner]
            assert {each.attempt.begun_before for each in a.requests} == {0}
            assert servers.owners.get(SESSION) == ""

    asyncio.run(main())


def test_an_owner_that_could_not_be_reached_is_not_called_again() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            servers.owners.put(SESSION, f"127.0.0.1:{free_port()}#gone")
            assert await text_of(ask(servers)) == "A"
            assert servers.owners.get(SESSION) == ""
            assert await text_of(ask(servers)) == "A"
            assert a.requests[1].unreachable_owner == ""

    asyncio.run(main())


def test_an_owner_that_accepts_connections_and_says_nothing_is_soon_left() -> None:
    async def main() -> None:
        async with (
            serving("A", "B") as (a, b),
            Proxy(b.port) as proxy,
            reached(target_of(a)) as servers,
        ):
            proxy.fall_silent()
            owner = f"{proxy.address}#silent"
            servers.owners.put(SESSION, owner)
            began = time.monotonic()
            assert await text_of(ask(servers)) == "A"
            assert time.monotonic() - began < CONNECT_SECONDS + BUSY_SECONDS
            assert a.requests[0].unreachable_owner == owner
            assert a.requests[0].attempt.begun_before == 0

    asyncio.run(main())


def test_an_owner_that_dies_during_a_call_is_named_and_the_call_may_have_begun() -> None:
    async def main() -> None:
        async with serving("A", "B") as (a, b), reached(target_of(a)) as servers:
            servers.owners.put(SESSION, b.owner)
            b.script.append(hangs())
            answer = asyncio.ensure_future(text_of(ask(servers)))
            await b.arrived.wait()
            await b.stop()
            assert await answer == "A"
            assert b.requests[0].unreachable_owner == ""
            assert a.requests[0].unreachable_owner == b.owner
            assert a.requests[0].attempt.begun_before == 1
            assert servers.owners.get(SESSION) == ""

    asyncio.run(main())


def test_a_redirect_is_not_told_of_an_owner_out_of_reach() -> None:
    async def main() -> None:
        async with serving("A", "B") as (a, b), reached(target_of(a)) as servers:
            servers.owners.put(SESSION, f"127.0.0.1:{free_port()}#gone")
            a.script.append(refuses(ELSEWHERE, owner=b.owner))
            assert await text_of(ask(servers)) == "B"
            assert b.requests[0].unreachable_owner == ""

    asyncio.run(main())


def test_without_any_server_a_request_waits_for_one_and_is_sent_as_the_first() -> None:
    async def main() -> None:
        port = free_port()
        async with reached(f"127.0.0.1:{port}") as servers:
            answer = ask(servers)
            reading = asyncio.ensure_future(text_of(answer))
            while answer._sends.attempts.sends <= MAX_BEGUN:  # noqa: ASYNC110 - there is no event  # pyright: ignore[reportPrivateUsage]
                await asyncio.sleep(0.01)
            late = ScriptedServer("late", port)
            await late.start()
            assert await reading == "late"
            assert late.requests == [request()]
            await late.stop()
            failed = await failure_of(ask(servers, timeout_seconds=1.0))
            assert failed.failure.code in {UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}

    asyncio.run(main())


def test_a_request_without_a_session_is_sent_again_and_no_owner_is_kept() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.append(refuses(DRAINING))
            a.script.append(aborts(UNAVAILABLE))
            assert await text_of(ask(servers, request(""), routing_key="")) == "A"
            assert [each.attempt.begun_before for each in a.requests] == [0, 0, 1]
            assert len(servers.owners) == 0

    asyncio.run(main())


def test_a_final_failure_is_the_answer() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.append(refuses(ErrorReason.ERROR_REASON_SESSION_ENDED))
            failed = await failure_of(ask(servers))
            assert failed.failure.reason == ErrorReason.ERROR_REASON_SESSION_ENDED
            assert len(a.requests) == 1

    asyncio.run(main())


@pytest.mark.parametrize("last", [result("{}"), ACCEPTED], ids=["result", "accepted"])
def test_an_answer_whose_last_event_is_out_is_not_asked_for_again(last: object) -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.append(aborts(UNAVAILABLE, last))  # type: ignore[arg-type]
            answer = ask(servers)
            assert await answer.next() == last
            await failure_of(answer)
            assert len(a.requests) == 1

    asyncio.run(main())


def test_an_end_is_sent_again_like_a_message() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.append(aborts(UNAVAILABLE))
            ended = HandleRequestRequest(session_id=SESSION, end=End(), attempt=Attempt(key=KEY))
            await text_of(ask(servers, ended))
            assert [each.attempt.begun_before for each in a.requests] == [0, 1]
            assert a.requests[1].HasField("end")

    asyncio.run(main())


# --- Init ------------------------------------------------------------------------------------------


def test_an_init_is_sent_until_a_server_takes_it() -> None:
    async def main() -> None:
        async with serving("A", "B") as (a, b), reached(target_of(a)) as servers:
            gone = f"127.0.0.1:{free_port()}#gone"
            a.inits.append(refuses_init(DRAINING))
            a.inits.append(refuses_init(ELSEWHERE, owner=gone))
            a.inits.append(refuses_init(ELSEWHERE, owner=b.owner))
            await init(servers, InitRequest(session_id=SESSION), timeout_seconds=TIMEOUT_SECONDS)
            assert [each.unreachable_owner for each in a.init_requests] == ["", "", gone]
            assert [each.unreachable_owner for each in b.init_requests] == [""]

    asyncio.run(main())


def test_an_init_that_is_refused_for_good_is_not_sent_again() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            too_many = ErrorReason.ERROR_REASON_TOO_MANY_SESSIONS
            a.inits.append(refuses_init(too_many))
            with pytest.raises(SessionCallError) as failed:
                await init(servers, InitRequest(session_id=SESSION), timeout_seconds=5.0)
            assert failed.value.failure.reason == too_many
            assert len(a.init_requests) == 1

    asyncio.run(main())


# --- a client that goes away -------------------------------------------------------------------------


def test_a_request_is_taken_once_a_server_has_it_after_however_many_sends() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.extend([refuses(DRAINING), refuses(DRAINING), hangs()])
            answer = ask(servers)
            await answer.taken(within_seconds=LONG_SECONDS)
            assert len(a.requests) == 3
            assert answer.take() is Nothing.YET
            answer.cancel()

    asyncio.run(main())


def test_a_request_that_fails_is_not_waited_for_to_be_taken() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a), retry_for_seconds=1.0) as servers:
            a.script.extend([refuses(DRAINING)] * 50)
            answer = ask(servers)
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await answer.taken(within_seconds=LONG_SECONDS)
            assert (await failure_of(answer)).failure.reason == DRAINING

    asyncio.run(main())


def test_a_request_is_taken_by_an_owner_that_has_to_be_connected_first() -> None:
    async def main() -> None:
        async with serving("A", "B") as (a, b), reached(target_of(a)) as servers:
            servers.owners.put(SESSION, b.owner)
            b.script.append(hangs())
            answer = ask(servers)
            await answer.taken(within_seconds=LONG_SECONDS)
            assert len(b.requests) == 1
            answer.cancel()

    asyncio.run(main())


def test_a_cancelled_request_is_not_sent_again() -> None:
    async def main() -> None:
        async with serving("A") as (a,), reached(target_of(a)) as servers:
            a.script.append(hangs())
            answer = ask(servers)
            reading = asyncio.ensure_future(answer.next())
            await a.arrived.wait()
            answer.cancel()
            assert await reading is None
            assert await text_of(ask(servers)) == "A"
            assert len(a.requests) == 2

    asyncio.run(main())


# --- in the trace ------------------------------------------------------------------------------------


def test_every_send_is_in_the_requests_trace_and_each_but_the_first_is_told_there() -> None:
    async def main() -> None:
        tracer = TracerProvider().get_tracer("test")
        async with serving("A", "B") as (a, b), reached(target_of(a)) as servers:
            a.script.extend([refuses(DRAINING), refuses(ELSEWHERE, owner=b.owner)])
            b.script.append(aborts(UNAVAILABLE))
            with tracer.start_as_current_span("mcp.request") as span:
                assert await text_of(ask(servers)) == "A"
            context = trace.format_span_id(span.get_span_context().span_id)
            parents = [str(each["traceparent"]) for each in (*a.metadata, *b.metadata)]
            assert len(parents) == 4
            assert all(context in parent for parent in parents)
            events = [(event.name, event.attributes) for event in getattr(span, "events", ())]
            assert events == [
                (RESEND_EVENT, {"attempt": 2, "reason": "DRAINING"}),
                (RESEND_EVENT, {"attempt": 3, "reason": "SESSION_ELSEWHERE"}),
                (RESEND_EVENT, {"attempt": 4, "reason": "UNAVAILABLE"}),
            ]

    asyncio.run(main())
