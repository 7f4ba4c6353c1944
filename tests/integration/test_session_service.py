"""The session service over gRPC, called as no worker would: fields out of limits, strangers, pages."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.peer import INITIALIZE, Message, modern, notification, request
from tests.support.processes import linkspan
from tests.support.session_calls import TIMEOUT_SECONDS, Service, service_at, session_ids
from tests.support.stack import Stack

from linkspan.session.v1.session_pb2 import Header, MessageKind, Principal, SessionState
from linkspan.session.v1.session_service_pb2 import (
    End,
    ErrorReason,
    GetSessionRequest,
    HandleRequestRequest,
    HandleRequestResponse,
    InitRequest,
    InitResponse,
    Listen,
    ListSessionsRequest,
    Post,
)
from linkspan.session.v1.session_service_pb2_grpc import SessionServiceStub
from linkspan_contract.limits import MAX_MESSAGE_BYTES
from linkspan_contract.status import CODE_OF_REASON, read_failure

INVALID = ErrorReason.ERROR_REASON_INVALID_REQUEST
NOT_FOUND = ErrorReason.ERROR_REASON_SESSION_NOT_FOUND
TAKEN = ErrorReason.ERROR_REASON_SESSION_ID_TAKEN

ADA = Principal(issuer="https://issuer.example", subject="ada")
EVE = Principal(issuer="https://issuer.example", subject="eve")


def run(stack: Stack, scenario: Callable[[Service], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(2 * TIMEOUT_SECONDS), service_at(stack.grpc) as service:
            await scenario(service)

    asyncio.run(main())


async def init(
    service: Service, session_id: str, principal: Principal | None = None
) -> InitResponse:
    asked = InitRequest(session_id=session_id, principal=principal)
    return await service.Init(asked, timeout=TIMEOUT_SECONDS)


def handle(service: Service, **fields: Any) -> AsyncIterator[HandleRequestResponse]:
    return aiter(service.HandleRequest(HandleRequestRequest(**fields), timeout=TIMEOUT_SECONDS))


async def messages(answer: AsyncIterator[HandleRequestResponse]) -> list[Message]:
    return [json.loads(event.message.json) async for event in answer]


async def posted(
    service: Service,
    session_id: str,
    message: Message,
    principal: Principal | None = None,
) -> list[HandleRequestResponse]:
    post = Post(message=json.dumps(message))
    answer = handle(service, session_id=session_id, principal=principal, post=post)
    return [event async for event in answer]


async def open_session(
    service: Service, session_id: str, principal: Principal | None = None
) -> None:
    await init(service, session_id, principal)
    (event,) = await posted(service, session_id, request("initialize", INITIALIZE), principal)
    assert event.message.kind == MessageKind.MESSAGE_KIND_RESULT


async def assert_refused(call: Awaitable[object], reason: ErrorReason.ValueType) -> str:
    """Check that a call is refused for a reason, and return the words for people."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    failure = read_failure(refused.value)
    assert (failure.reason, failure.code) == (reason, CODE_OF_REASON[reason])
    assert failure.message
    assert failure.correlation_id == ""
    return failure.message


# --- health ----------------------------------------------------------------------------------------


@requirement("grpc.health")
def test_the_server_and_its_service_are_healthy_until_it_shuts_down(tmp_path: Path) -> None:
    async def main(target: str, shut_down: Callable[[], None]) -> None:
        async with (
            asyncio.timeout(2 * TIMEOUT_SECONDS),
            grpc.aio.insecure_channel(target) as channel,
        ):
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                health_pb2.HealthCheckRequest.SerializeToString,
                health_pb2.HealthCheckResponse.FromString,
            )
            watch = channel.unary_stream(
                "/grpc.health.v1.Health/Watch",
                health_pb2.HealthCheckRequest.SerializeToString,
                health_pb2.HealthCheckResponse.FromString,
            )
            for name in ("", "linkspan.session.v1.SessionService"):
                checked = await check(health_pb2.HealthCheckRequest(service=name))
                assert checked.status == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await check(health_pb2.HealthCheckRequest(service="no.such.Service"))
            assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
            # A call that runs keeps the server up for long enough to be asked.
            service = SessionServiceStub(channel)
            held = json.dumps(modern("probe/hold", {"name": "health"}))
            running = service.HandleRequest(
                HandleRequestRequest(post=Post(message=held)), timeout=TIMEOUT_SECONDS
            )
            seen = modern("probe/seen", {"name": "health", "mark": "started"})
            await posted(service, "", seen)
            watching = aiter(watch(health_pb2.HealthCheckRequest()))
            assert (await anext(watching)).status == health_pb2.HealthCheckResponse.SERVING
            shut_down()
            assert (await anext(watching)).status == health_pb2.HealthCheckResponse.NOT_SERVING
            late = posted(service, "", modern("probe/say", {"text": "too late"}))
            await assert_refused(late, ErrorReason.ERROR_REASON_DRAINING)
            running.cancel()  # nothing is left to wait for

    arguments = ("--port", "0", "--data", str(tmp_path), "--drain-timeout", "60")
    with linkspan("session", "--app", PROBE, *arguments) as server:
        target = server.wait_ready()["grpc"]
        asyncio.run(main(target, lambda: server.signal(signal.SIGTERM)))
        assert server.wait() == 0


# --- Init ------------------------------------------------------------------------------------------


@requirement("grpc.init-idempotent")
def test_init_of_the_same_id_and_principal_gives_the_same_session(stack: Stack) -> None:
    async def scenario(service: Service) -> None:
        first = await init(service, "idempotent", ADA)
        assert first.created
        assert first.session.state == SessionState.SESSION_STATE_CREATED
        again = await init(service, "idempotent", ADA)
        assert not again.created
        assert again.session == first.session
        opening = request("initialize", INITIALIZE)
        await posted(service, "idempotent", opening, ADA)
        live = await init(service, "idempotent", ADA)
        assert not live.created
        assert live.session.state == SessionState.SESSION_STATE_LIVE
        assert live.session.create_time == first.session.create_time

    run(stack, scenario)


@requirement("grpc.init-idempotent")
def test_of_many_that_init_at_once_one_creates(stack: Stack) -> None:
    async def scenario(service: Service) -> None:
        answers = await asyncio.gather(*(init(service, "at-once", ADA) for _ in range(20)))
        assert [answer.created for answer in answers].count(True) == 1
        assert len({answer.session.SerializeToString() for answer in answers}) == 1

    run(stack, scenario)


@requirement("grpc.init-idempotent")
def test_the_id_of_an_ended_session_is_never_given_anew(stack: Stack) -> None:
    async def scenario(service: Service) -> None:
        await open_session(service, "phoenix", ADA)
        ended = [
            event async for event in handle(service, session_id="phoenix", principal=ADA, end=End())
        ]
        assert [event.WhichOneof("event") for event in ended] == ["ended"]
        with pytest.raises(grpc.aio.AioRpcError) as taken:
            await init(service, "phoenix", EVE)
        assert read_failure(taken.value).reason == ErrorReason.ERROR_REASON_SESSION_ID_TAKEN
        with pytest.raises(grpc.aio.AioRpcError) as over:
            await init(service, "phoenix", ADA)
        assert read_failure(over.value).reason == ErrorReason.ERROR_REASON_SESSION_ENDED

    run(stack, scenario)


# --- principals ------------------------------------------------------------------------------------


@requirement("grpc.foreign-principal")
@pytest.mark.parametrize(
    "stranger",
    [
        None,
        EVE,
        Principal(issuer="https://issuer.example"),
        Principal(issuer="https://issuer.example", subject="ada", resource="r"),
        Principal(issuer="https://issuer.exampl", subject="eada"),
        Principal(issuer="https://issuer.example", subject="Ada"),
    ],
)
def test_another_principals_session_is_as_unknown_as_none(
    stack: Stack, stranger: Principal | None
) -> None:
    async def scenario(service: Service) -> None:
        if "adas" not in await session_ids(service):
            await open_session(service, "adas", ADA)
        words: set[str] = set()
        for session_id in ("adas", "nobodys"):
            for action in (
                {"post": Post(message=json.dumps(request("ping")))},
                {"post": Post(message=json.dumps(notification("notifications/initialized")))},
                {"listen": Listen()},
                {"listen": Listen(last_event_id="x.1")},
                {"end": End()},
            ):
                answer = handle(service, session_id=session_id, principal=stranger, **action)
                words.add(await assert_refused(messages(answer), NOT_FOUND))
        assert len(words) == 1, "the words tell the two apart"
        await assert_refused(init(service, "adas", stranger), TAKEN)
        (event,) = await posted(service, "adas", request("ping"), ADA)
        assert event.message.kind == MessageKind.MESSAGE_KIND_RESULT

    run(stack, scenario)


# --- fields out of limits --------------------------------------------------------------------------

PING = json.dumps(request("ping"))


@requirement("grpc.invalid")
@pytest.mark.parametrize("session_id", ["", "a b", "a" * 129, "é", "a\n"])
def test_an_impossible_session_id_is_invalid(stack: Stack, session_id: str) -> None:
    async def scenario(service: Service) -> None:
        await assert_refused(init(service, session_id), INVALID)
        for action in ({"listen": Listen()}, {"end": End()}):
            answer = handle(service, session_id=session_id, **action)
            await assert_refused(messages(answer), INVALID)
        get = service.GetSession(GetSessionRequest(session_id=session_id))
        await assert_refused(get, INVALID)
        if session_id:
            answer = handle(service, session_id=session_id, post=Post(message=PING))
            await assert_refused(messages(answer), INVALID)

    run(stack, scenario)


@requirement("grpc.invalid")
@pytest.mark.parametrize("field", ["issuer", "subject", "resource"])
@pytest.mark.parametrize("letter", ["a", "é"])
def test_a_principal_over_its_limit_in_bytes_is_invalid(
    stack: Stack, field: str, letter: str
) -> None:
    fits = letter * (2048 // len(letter.encode()))
    session_id = f"principal-{field}-{len(fits)}"

    async def scenario(service: Service) -> None:
        assert (await init(service, session_id, Principal(**{field: fits}))).created
        too_long = Principal(**{field: fits + "a"})
        await assert_refused(init(service, "too-long", too_long), INVALID)
        answer = handle(service, principal=too_long, post=Post(message=PING))
        await assert_refused(messages(answer), INVALID)

    run(stack, scenario)


@requirement("grpc.invalid")
@pytest.mark.parametrize(
    "headers",
    [
        [Header(name="mcp-x", value="v")] * 101,
        [Header(name="m" * 257, value="v")],
        [Header(name="mcp-x", value="v" * 8193)],
        [Header(name="mcp-x", value="é" * 4097)],
    ],
    ids=["many", "name", "value", "value-in-bytes"],
)
def test_headers_over_their_limit_are_invalid(stack: Stack, headers: list[Header]) -> None:
    async def scenario(service: Service) -> None:
        answer = handle(service, post=Post(message=PING, headers=headers))
        await assert_refused(messages(answer), INVALID)

    run(stack, scenario)


@requirement("grpc.invalid")
@pytest.mark.parametrize(
    "message",
    ["", "{", "7", "{}", PING + " " * MAX_MESSAGE_BYTES, '{"a":"' + "é" * (MAX_MESSAGE_BYTES // 2)],
    ids=["empty", "cut", "number", "object", "large", "large-in-bytes"],
)
def test_a_message_that_is_not_json_rpc_is_invalid(stack: Stack, message: str) -> None:
    async def scenario(service: Service) -> None:
        await assert_refused(messages(handle(service, post=Post(message=message))), INVALID)

    run(stack, scenario)


@requirement("grpc.invalid")
def test_a_call_without_an_action_is_invalid(stack: Stack) -> None:
    async def scenario(service: Service) -> None:
        words = await assert_refused(messages(handle(service)), INVALID)
        assert words == "action: set one of post, listen and end"

    run(stack, scenario)


@requirement("grpc.invalid")
def test_a_response_or_a_batch_without_a_session_is_invalid(stack: Stack) -> None:
    async def scenario(service: Service) -> None:
        response: Message = {"jsonrpc": "2.0", "id": 1, "result": {}}
        for message in (response, [request("ping")]):
            answer = handle(service, post=Post(message=json.dumps(message)))
            await assert_refused(messages(answer), INVALID)

    run(stack, scenario)


@requirement("grpc.invalid")
def test_a_negative_page_size_is_invalid(stack: Stack) -> None:
    async def scenario(service: Service) -> None:
        await assert_refused(service.ListSessions(ListSessionsRequest(page_size=-1)), INVALID)

    run(stack, scenario)


@requirement("grpc.invalid")
@pytest.mark.parametrize(
    "token",
    [
        "garbage",
        "\u2028",
        "=",
        "MQ==",  # a number and nothing after it
        "eCB5",  # "x y"
        "MSBhIGI=",  # "1 a b"
        "OTk5OTk5OTk5OTk5OTk5OTk5OTkgYQ==",  # twenty nines and an id
        "LTk5OTk5OTk5OTk5OTk5OTk5OTk5IGE=",  # minus that
        "/w==",
        "A" * 10_000,
    ],
)
def test_a_page_token_that_nobody_gave_is_invalid(stack: Stack, token: str) -> None:
    async def scenario(service: Service) -> None:
        await assert_refused(service.ListSessions(ListSessionsRequest(page_token=token)), INVALID)

    run(stack, scenario)


# --- for operators ---------------------------------------------------------------------------------


@requirement("grpc.list")
def test_pages_hold_every_session_once_oldest_first(probe: Stack) -> None:
    async def scenario(service: Service) -> None:
        created = [f"page-{number}" for number in range(25)]
        await asyncio.gather(*(init(service, each, ADA) for each in created))
        everything = await service.ListSessions(ListSessionsRequest(page_size=1000))
        assert everything.next_page_token == ""
        keys = [(each.create_time.ToNanoseconds(), each.session_id) for each in everything.sessions]
        assert keys == sorted(keys)
        assert set(created) <= {each.session_id for each in everything.sessions}
        for size in (1, 7, len(keys)):
            listed: list[str] = []
            token = ""
            while True:
                asked = ListSessionsRequest(page_size=size, page_token=token)
                page = await service.ListSessions(asked, timeout=TIMEOUT_SECONDS)
                assert len(page.sessions) <= size
                listed += [each.session_id for each in page.sessions]
                token = page.next_page_token
                if not token:
                    break
            assert listed == [session_id for _, session_id in keys]

    run(probe, scenario)


@requirement("grpc.list")
def test_a_page_holds_100_unless_asked_and_never_more_than_1000(tmp_path: Path) -> None:
    async def main(target: str) -> None:
        async with asyncio.timeout(40), service_at(target) as service:
            for start in range(0, 1100, 100):
                ids = [f"s{number:04}" for number in range(start, start + 100)]
                await asyncio.gather(*(init(service, each) for each in ids))
            for size, held in ((0, 100), (2000, 1000), (1000, 1000), (2**31 - 1, 1000)):
                page = await service.ListSessions(ListSessionsRequest(page_size=size))
                assert len(page.sessions) == held
                assert page.next_page_token

    with linkspan("session", "--app", PROBE, "--port", "0", "--data", str(tmp_path)) as server:
        asyncio.run(main(server.wait_ready()["grpc"]))


@requirement("grpc.list")
def test_what_is_on_record_about_a_session_is_told(probe: Stack) -> None:
    async def scenario(service: Service) -> None:
        await open_session(service, "told", ADA)
        held = handle(
            service,
            session_id="told",
            principal=ADA,
            post=Post(message=json.dumps(request("probe/hold", {"name": "told"}))),
        )
        seen = modern("probe/seen", {"name": "told", "mark": "started"})
        await posted(service, "", seen)
        session = (await service.GetSession(GetSessionRequest(session_id="told"))).session
        assert session.principal == ADA
        assert session.state == SessionState.SESSION_STATE_LIVE
        assert session.protocol_version == "2025-11-25"
        assert (session.client_name, session.client_version) == ("peer", "1")
        assert session.requests_in_flight == 1
        assert 0 < session.create_time.ToNanoseconds() <= session.last_active_time.ToNanoseconds()
        await posted(service, "", modern("probe/release", {"name": "told"}))
        assert [event async for event in held]
        get = service.GetSession(GetSessionRequest(session_id="no-such-session"))
        await assert_refused(get, NOT_FOUND)

    run(probe, scenario)


# --- calls and their cancellation ------------------------------------------------------------------


@requirement("modern.disconnect", "session.disconnect")
@pytest.mark.parametrize("era", ["handshake", "modern"])
def test_cancelling_the_call_cancels_the_request_of_the_modern_era_only(
    probe: Stack, era: str
) -> None:
    async def scenario(service: Service) -> None:
        name = f"cancelled call {era}"
        message, session_id = modern("probe/hold", {"name": name}), ""
        if era == "handshake":
            message, session_id = request("probe/hold", {"name": name}), "cancelled-call"
            await open_session(service, session_id)
        asked = HandleRequestRequest(session_id=session_id, post=Post(message=json.dumps(message)))
        call = service.HandleRequest(asked, timeout=TIMEOUT_SECONDS)
        seen = {"name": name, "mark": "started"}
        await posted(service, "", modern("probe/seen", seen))
        call.cancel()
        ended = "cancelled"
        if era == "handshake":
            await posted(service, "", modern("probe/release", {"name": name}))
            ended = "finished"
        await posted(service, "", modern("probe/seen", {"name": name, "mark": ended}))

    run(probe, scenario)
