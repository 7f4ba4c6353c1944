"""What a server may not send, and what a client makes of it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc
import pytest
from tests.requirements import requirement
from tests.tunnel.raw import SERVER_SETTINGS, answering, raw_server
from tests.tunnel.scripted import call, logged

from linkspan.tunnel.v1.tunnel_pb2 import Draining, Metadatum, ServerFrame, Settings
from linkspan.tunnel.v1.tunnel_service_pb2 import OpenResponse
from linkspan_tunnel import NotBegunError

OK = grpc.StatusCode.OK.value[0]


def _frames(*frames: ServerFrame) -> OpenResponse:
    return OpenResponse(frames=frames)


def _answer(call_id: int = 1, message: bytes = b"fine") -> ServerFrame:
    return ServerFrame(call_id=call_id, message=message, status_code=OK)


def _piece(size: int, left: int) -> ServerFrame:
    return ServerFrame(call_id=1, message=b"x" * size, message_bytes_left=left)


BREACHES: dict[str, bytes | OpenResponse] = {
    "reserved call id 0": _frames(ServerFrame(call_id=0)),
    "that has not begun": _frames(_answer(9)),
    "settings came twice": OpenResponse(settings=SERVER_SETTINGS),
    "no message of the tunnel": b"\xff\xff",
}


@requirement("tunnel.rules")
@pytest.mark.parametrize("words", BREACHES)
def test_a_breach_of_the_tunnels_rules_fails_its_calls_and_a_new_tunnel_is_opened(
    words: str,
) -> None:
    async def run() -> None:
        async with raw_server(answering(BREACHES[words])) as channel:
            for _ in range(2):
                await channel.channel_ready()
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call(channel, "UnaryUnary")(b"", timeout=30)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                assert words in (caught.value.details() or "")
                assert not isinstance(caught.value, NotBegunError)

    _run(run())


FAULTS: dict[str, tuple[list[ServerFrame], str]] = {
    "late headers": ([_piece(1, 0), ServerFrame(call_id=1, headers=True)], "INTERNAL"),
    "headers twice": ([ServerFrame(call_id=1, headers=True)] * 2, "INTERNAL"),
    "bad metadata": (
        [ServerFrame(call_id=1, headers=True, metadata=[Metadatum(key="", text="v")])],
        "INTERNAL",
    ),
    "large trailing metadata": (
        [
            ServerFrame(
                call_id=1, status_code=OK, trailing_metadata=[Metadatum(key="k", text="v" * 20000)]
            )
        ],
        "RESOURCE_EXHAUSTED",
    ),
    "two messages": ([_piece(1, 0), _piece(1, 0)], "INTERNAL"),
    "no message": ([ServerFrame(call_id=1, status_code=OK)], "INTERNAL"),
    "cut message": ([_piece(5, 5), ServerFrame(call_id=1, status_code=OK)], "INTERNAL"),
    "wrong piece": ([_piece(5, 5), _piece(6, 0)], "INTERNAL"),
    "large message": ([_piece(5, 5_000_000)], "RESOURCE_EXHAUSTED"),
    "beyond the window": ([_piece(65536, 0)], "INTERNAL"),
    "large grant": ([ServerFrame(call_id=1, grant_bytes=(1 << 31) - 1)] * 2, "INTERNAL"),
    "a code that gRPC does not have": ([ServerFrame(call_id=1, status_code=4711)], "UNKNOWN"),
}


@requirement("tunnel.rules")
@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_of_one_call_fails_that_call_alone(case: str) -> None:
    frames, code = FAULTS[case]

    async def run() -> None:
        async with raw_server(answering(_frames(*frames, _answer(), _answer(2)))) as channel:
            make = call(channel, "UnaryUnary")
            first, second = make(b"", timeout=30), make(b"", timeout=30)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await first
            assert caught.value.code() is grpc.StatusCode[code]
            assert await second == b"fine"

    _run(run())


def test_frames_of_a_call_that_has_ended_are_ignored() -> None:
    async def run() -> None:
        late = _frames(_answer(), _answer(), _piece(5, 5), ServerFrame(call_id=1, grant_bytes=9))
        async with raw_server(answering(late)) as channel:
            assert await call(channel, "UnaryUnary")(b"", timeout=30) == b"fine"
            await asyncio.sleep(0)
            assert channel.get_state() is grpc.ChannelConnectivity.READY

    _run(run())


OPENINGS: dict[str, tuple[bytes, str]] = {
    "no settings": (b"", "no settings"),
    "bad settings": (
        OpenResponse(settings=Settings(call_window_bytes=5)).SerializeToString(),
        "out of its range",
    ),
    "no calls": (
        OpenResponse(
            settings=Settings(call_window_bytes=65536, max_metadata_bytes=8192)
        ).SerializeToString(),
        "out of its range",
    ),
    "no message": (b"\xff", "no message of the tunnel"),
}


@pytest.mark.parametrize("case", OPENINGS)
def test_a_tunnel_that_is_opened_wrongly_fails_calls_as_never_begun(case: str) -> None:
    first, words = OPENINGS[case]

    async def serve(context: Any) -> None:
        await context.write(first)
        await context.read()
        await context.read()

    async def run() -> None:
        async with raw_server(serve) as channel:
            await _fails_unbegun(channel, grpc.StatusCode.UNAVAILABLE, words)

    _run(run())


def test_a_server_that_ends_tunnels_at_once_fails_calls_as_never_begun() -> None:
    async def serve(context: Any) -> None:
        del context

    async def run() -> None:
        async with raw_server(serve) as channel:
            await _fails_unbegun(channel, grpc.StatusCode.UNAVAILABLE, "no tunnel")

    _run(run())


def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    async def serve(context: Any) -> None:
        while isinstance(await context.read(), bytes):
            pass

    async def run() -> None:
        async with raw_server(serve, open_timeout_seconds=0.2) as channel:
            await _fails_unbegun(channel, grpc.StatusCode.UNAVAILABLE, "does not answer")

    _run(run())


def test_a_call_that_the_server_refuses_is_never_begun() -> None:
    refusal = _frames(ServerFrame(call_id=1, status_code=8, status_message="full", refused=True))

    async def run() -> None:
        async with raw_server(answering(refusal)) as channel:
            await _fails_unbegun(channel, grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    _run(run())


def test_calls_that_a_draining_server_has_not_begun_are_told_so_and_others_go_on() -> None:
    async def run() -> None:
        draining = OpenResponse(draining=Draining(last_call_id=1))
        answers = answering(draining, _frames(_answer(1)))
        async with raw_server(answers) as channel:
            make = call(channel, "UnaryUnary")
            first, second = make(b"", timeout=30), make(b"", timeout=30)
            with pytest.raises(NotBegunError) as caught:
                await second
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert await first == b"fine"

    _run(run())


async def _fails_unbegun(channel: grpc.aio.Channel, code: grpc.StatusCode, words: str) -> None:
    with pytest.raises(NotBegunError) as caught:
        await call(channel, "UnaryUnary")(b"", timeout=30)
    assert caught.value.code() is code
    assert words in (caught.value.details() or "")


def _run(scenario: Coroutine[Any, Any, None]) -> None:
    with logged() as words:
        asyncio.run(asyncio.wait_for(scenario, 50))
    assert words == []
