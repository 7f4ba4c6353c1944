"""The operators' client against session servers that do what a script says, over real gRPC."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import pytest

from linkspan.session.v1.session_pb2 import Session
from linkspan.session.v1.session_service_pb2 import (
    EndSessionRequest,
    EndSessionResponse,
    ErrorReason,
    GetSessionRequest,
    GetSessionResponse,
    HandleRequestRequest,
    HandleRequestResponse,
    InitRequest,
    InitResponse,
    ListSessionsRequest,
    ListSessionsResponse,
)
from linkspan.session.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    add_SessionServiceServicer_to_server,
)
from linkspan_cli.sessions.client import (
    CallError,
    NoSuchSessionError,
    ServerUnreachableError,
    SessionsClient,
)
from linkspan_cli.sessions.ending import AT_ONCE, MAX_TOLD, Tally, end_all
from linkspan_contract.status import make_status

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Step: TypeAlias = Callable[[EndSessionRequest, Context], Awaitable[None]]

SECONDS = 25.0


class Scripted(SessionServiceServicer):
    """Takes the next step of its script for each EndSession, the last one again and again."""

    def __init__(self) -> None:
        self.steps: deque[Step] = deque()
        self.ends: list[EndSessionRequest] = []
        self.session = Session(session_id="s")
        self.failure: grpc.Status | None = None
        self.running = self.most_running = 0
        self._server = grpc.aio.server()
        add_SessionServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    async def EndSession(self, request: EndSessionRequest, context: Context) -> EndSessionResponse:  # noqa: N802
        self.ends.append(request)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.steps:
                step = self.steps.popleft() if len(self.steps) > 1 else self.steps[0]
                await step(request, context)
            return EndSessionResponse()
        finally:
            self.running -= 1

    async def GetSession(  # noqa: N802
        self, request: GetSessionRequest, context: Context
    ) -> GetSessionResponse:
        assert request.session_id
        if self.failure is not None:
            await context.abort_with_status(self.failure)
        return GetSessionResponse(session=self.session)

    async def Init(self, request: InitRequest, context: Context) -> InitResponse:  # noqa: N802
        raise NotImplementedError

    def HandleRequest(  # noqa: N802
        self, request: HandleRequestRequest, context: Context
    ) -> AsyncIterator[HandleRequestResponse]:
        raise NotImplementedError

    async def ListSessions(  # noqa: N802
        self, request: ListSessionsRequest, context: Context
    ) -> ListSessionsResponse:
        at = int(request.page_token or "0")
        page = [Session(session_id=str(at + n)) for n in range(request.page_size)]
        if at >= 6:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        return ListSessionsResponse(sessions=page, next_page_token=str(at + request.page_size))


@asynccontextmanager
async def servers(count: int) -> AsyncGenerator[list[Scripted]]:
    made = [Scripted() for _ in range(count)]
    try:
        for each in made:
            await each.start()
        yield made
    finally:
        for each in made:
            await each.stop()


def scenario(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(2 * SECONDS):
            await test()

    asyncio.run(main())


def fails(reason: ErrorReason.ValueType, *, owner: str = "", correlation_id: str = "") -> Step:
    async def step(_request: EndSessionRequest, context: Context) -> None:
        status = make_status(reason, "words", owner=owner, correlation_id=correlation_id)
        await context.abort_with_status(status)

    return step


def aborts(code: grpc.StatusCode, details: str = "") -> Step:
    async def step(_request: EndSessionRequest, context: Context) -> None:
        await context.abort(code, details)

    return step


async def succeeds(_request: EndSessionRequest, _context: Context) -> None:
    """End the session."""


async def hangs(_request: EndSessionRequest, _context: Context) -> None:
    await asyncio.Event().wait()


ELSEWHERE = ErrorReason.ERROR_REASON_SESSION_ELSEWHERE
ENDED = ErrorReason.ERROR_REASON_SESSION_ENDED
DEAD = "127.0.0.1:1#dead"


# --- ends ------------------------------------------------------------------------------------------


def test_a_redirect_is_followed_to_the_owner() -> None:
    async def test() -> None:
        async with servers(2) as (first, owner), SessionsClient(first.address) as client:
            first.steps.append(fails(ELSEWHERE, owner=f"{owner.address}#1"))
            assert await client.end("s")
            assert [len(first.ends), len(owner.ends)] == [1, 1]
            assert owner.ends[0].unreachable_owner == ""

    scenario(test)


def test_a_redirect_to_any_server_asks_the_first_again() -> None:
    async def test() -> None:
        async with servers(1) as (first,), SessionsClient(first.address) as client:
            first.steps += [fails(ELSEWHERE), succeeds]
            assert await client.end("s")
            assert len(first.ends) == 2

    scenario(test)


def test_an_owner_out_of_reach_is_told_to_the_first_server() -> None:
    async def test() -> None:
        async with servers(1) as (first,), SessionsClient(first.address) as client:
            first.steps += [fails(ELSEWHERE, owner=DEAD), succeeds]
            assert await client.end("s")
            assert [each.unreachable_owner for each in first.ends] == ["", DEAD]

    scenario(test)


def test_an_owner_that_is_silent_is_told_to_the_first_server_and_not_tried_again() -> None:
    async def test() -> None:
        async with (
            servers(2) as (first, owner),
            SessionsClient(first.address, call_seconds=1.0) as client,
        ):
            node = f"{owner.address}#1"
            owner.steps.append(hangs)
            for session_id in ("one", "two"):
                first.steps.clear()
                first.steps += [fails(ELSEWHERE, owner=node), succeeds]
                assert await client.end(session_id)
            assert [each.unreachable_owner for each in first.ends] == ["", node, "", node]
            assert [each.session_id for each in owner.ends] == ["one"]

    scenario(test)


def test_an_owner_that_only_other_servers_reach_is_named() -> None:
    async def test() -> None:
        async with servers(1) as (first,), SessionsClient(first.address) as client:
            first.steps.append(fails(ELSEWHERE, owner=DEAD))
            with pytest.raises(CallError, match=r"on 127\.0\.0\.1:1, which cannot be reached"):
                await client.end("s")
            assert len(first.ends) == 2

    scenario(test)


def test_a_session_that_never_comes_to_rest_is_given_up() -> None:
    async def test() -> None:
        async with servers(2) as (one, two), SessionsClient(one.address) as client:
            one.steps.append(fails(ELSEWHERE, owner=f"{two.address}#1"))
            two.steps.append(fails(ELSEWHERE, owner=f"{one.address}#1"))
            with pytest.raises(CallError, match="moves from server to server; try again"):
                await client.end("s")
            assert len(one.ends) + len(two.ends) == 6

    scenario(test)


def test_a_session_that_is_gone_is_no_failure() -> None:
    async def test() -> None:
        async with servers(1) as (first,), SessionsClient(first.address) as client:
            first.steps += [
                fails(ErrorReason.ERROR_REASON_SESSION_NOT_FOUND),
                fails(ENDED),
                fails(ErrorReason.ERROR_REASON_SESSION_EXPIRED),
            ]
            assert [await client.end("s") for _ in range(3)] == [False, False, False]

    scenario(test)


def test_a_session_that_its_silent_owner_did_end_counts_as_ended() -> None:
    async def test() -> None:
        async with (
            servers(2) as (first, owner),
            SessionsClient(first.address, call_seconds=1.0) as client,
        ):
            owner.steps.append(hangs)
            first.steps += [fails(ELSEWHERE, owner=f"{owner.address}#1"), fails(ENDED)]
            assert await client.end("s")

    scenario(test)


# --- what is said of failures ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "kind", "says"),
    [
        (
            fails(ErrorReason.ERROR_REASON_INTERNAL, correlation_id="c0ffee"),
            CallError,
            r"words \(correlation id c0ffee\)",
        ),
        (fails(ErrorReason.ERROR_REASON_STORE_UNAVAILABLE), CallError, "words"),
        (fails(ErrorReason.ERROR_REASON_OWNER_UNREACHABLE), CallError, "words"),
        (aborts(grpc.StatusCode.UNAVAILABLE), ServerUnreachableError, "no session server answers"),
        (hangs, CallError, r"did not answer within 0\.8 seconds"),
        (aborts(grpc.StatusCode.UNIMPLEMENTED), CallError, "is no Linkspan session server"),
        (aborts(grpc.StatusCode.NOT_FOUND), CallError, "failed with NOT_FOUND"),
        (
            aborts(grpc.StatusCode.PERMISSION_DENIED, "no\n\x1b[2Jway"),
            CallError,
            "failed with PERMISSION_DENIED: no\ufffd\ufffd",
        ),
    ],
)
def test_a_failure_is_one_line_that_says_what_to_do(
    step: Step, kind: type[CallError], says: str
) -> None:
    async def test() -> None:
        async with (
            servers(1) as (first,),
            SessionsClient(first.address, call_seconds=0.8) as client,
        ):
            first.steps.append(step)
            with pytest.raises(CallError, match=says) as raised:
                await client.end("s")
            assert type(raised.value) is kind
            assert str(raised.value).isprintable()

    scenario(test)


def test_a_page_that_fails_comes_after_those_that_did_not() -> None:
    async def test() -> None:
        async with servers(1) as (first,), SessionsClient(first.address, page_size=3) as client:
            pages = client.pages()
            for number in range(2):
                page = await anext(pages)
                assert page.more
                ids = [each.session_id for each in page.sessions]
                assert ids == [str(3 * number + place) for place in range(3)]
            with pytest.raises(CallError, match="is no Linkspan session server"):
                await anext(pages)

    scenario(test)


# --- one session -----------------------------------------------------------------------------------


def test_what_runs_in_a_session_is_asked_of_its_owner() -> None:
    async def test() -> None:
        async with servers(2) as (first, owner), SessionsClient(first.address) as client:
            first.session.owner_address = owner.address
            owner.session.owner_address = owner.address
            owner.session.requests_in_flight = 7
            shown = await client.get("s")
            assert (shown.session.requests_in_flight, shown.counted_by_owner) == (7, True)

    scenario(test)


def test_an_owner_is_asked_where_operators_call_it_unless_it_is_who_answers() -> None:
    async def test() -> None:
        async with servers(2) as (first, owner), SessionsClient(first.address) as client:
            first.session.owner_address = owner.session.owner_address = "127.0.0.1:1"
            first.session.owner_admin_address = owner.address
            owner.session.requests_in_flight = 7
            shown = await client.get("s")
            assert (shown.session.requests_in_flight, shown.counted_by_owner) == (7, True)
            first.session.owned_here = True
            shown = await client.get("s")
            assert (shown.session.requests_in_flight, shown.counted_by_owner) == (0, True)

    scenario(test)


def test_an_owner_that_cannot_be_asked_leaves_open_what_runs() -> None:
    async def test() -> None:
        async with servers(1) as (first,), SessionsClient(first.address) as client:
            first.session.owner_address = "127.0.0.1:1"
            assert not (await client.get("s")).counted_by_owner
            first.session.owner_address = ""
            assert (await client.get("s")).counted_by_owner
            not_found = ErrorReason.ERROR_REASON_SESSION_NOT_FOUND
            first.failure = make_status(not_found, "words")
            with pytest.raises(NoSuchSessionError, match="linkspan sessions list"):
                await client.get("s")

    scenario(test)


# --- many ends -------------------------------------------------------------------------------------


def test_sixteen_sessions_at_most_are_ended_at_a_time() -> None:
    async def test() -> None:
        async with servers(1) as (first,):
            full, release = asyncio.Event(), asyncio.Event()

            async def waits(_request: EndSessionRequest, _context: Context) -> None:
                if first.running == 16:
                    full.set()
                await release.wait()

            first.steps.append(waits)
            tally, said = Tally(50), list[str]()
            ids = [str(each) for each in range(50)]
            ending = asyncio.create_task(end_all(ids, first.address, tally, say=said.append))
            await full.wait()
            async with SessionsClient(first.address) as aside:
                for _ in range(20):  # time enough for a seventeenth to arrive
                    await aside.get("s")
            release.set()
            await ending
            assert first.most_running == 16
            assert sorted(each.session_id for each in first.ends) == sorted(ids)
            assert tally.summary() == "ended 50, gone already 0, failed 0"
            assert said == []

    scenario(test)


def test_failures_are_told_one_by_one_up_to_a_number() -> None:
    async def test() -> None:
        async with servers(1) as (first,):
            first.steps.append(fails(ErrorReason.ERROR_REASON_STORE_UNAVAILABLE))
            tally, said = Tally(30), list[str]()
            await end_all([f"s{n}" for n in range(30)], first.address, tally, say=said.append)
            assert tally.summary() == "ended 0, gone already 0, failed 30"
            assert len(said) == MAX_TOLD + 1
            assert all(line.endswith(": words") for line in said[:-1])
            assert said[-1] == "20 more could not be ended"

    scenario(test)


def test_without_a_server_the_rest_is_not_tried() -> None:
    async def test() -> None:
        tally, said = Tally(100), list[str]()
        await end_all([f"s{n}" for n in range(100)], "127.0.0.1:1", tally, say=said.append)
        (line,) = said
        assert line.startswith("no session server answers at 127.0.0.1:1; ")
        assert tally.ended == tally.gone == 0
        assert 1 <= tally.failed <= AT_ONCE
        assert tally.summary().endswith(f"left {100 - tally.failed}")

    scenario(test)
