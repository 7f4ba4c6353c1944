"""What a client may not send, and what a server makes of it; innocent calls go on where they may."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import pytest
from tests.requirements import requirement
from tests.tunnel.raw import SETTINGS, RawClient, raw_client
from tests.tunnel.scripted import SERVICE, Scene, logged, scene, script

from linkspan.tunnel.v1.tunnel_pb2 import ClientFrame, Metadatum, Settings
from linkspan.tunnel.v1.tunnel_service_pb2 import OpenRequest
from linkspan_tunnel import TunnelLimits

UNARY = f"/{SERVICE}/UnaryUnary"
STREAM = f"/{SERVICE}/StreamStream"
HANG = script(["hang"])
WINDOW = TunnelLimits().call_window_bytes


def _start(call_id: int, method: str = UNARY, message: bytes = HANG) -> ClientFrame:
    return ClientFrame(call_id=call_id, method=method, message=message)


def _piece(call_id: int, size: int, left: int) -> ClientFrame:
    return ClientFrame(call_id=call_id, message=b"x" * size, message_bytes_left=left)


TUNNEL_BREACHES: dict[str, list[ClientFrame]] = {
    "reserved call id 0": [ClientFrame(call_id=0, method=UNARY)],
    "id that is not higher": [_start(1), _start(1)],
    "id that is lower than one before": [_start(5), _start(3)],
    "of a call that has not begun": [ClientFrame(call_id=7, half_close=True)],
}


@requirement("tunnel.rules")
@pytest.mark.parametrize("case", TUNNEL_BREACHES)
def test_a_breach_of_the_tunnels_rules_ends_it_with_invalid_argument(case: str) -> None:
    async def run(there: Scene, client: RawClient) -> None:
        await client.open()
        await client.send(*TUNNEL_BREACHES[case])
        code, words = await client.end()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert set(case.split()) & set(words.split())

    _against_server(run)


OPENINGS: dict[str, bytes] = {
    "no settings": OpenRequest(frames=[_start(1)]).SerializeToString(),
    "out of its range": OpenRequest(
        settings=Settings(call_window_bytes=1, max_metadata_bytes=1)
    ).SerializeToString(),
    "no message": b"\xff\xff\xff",
}


@pytest.mark.parametrize("words", OPENINGS)
def test_a_tunnel_that_is_opened_wrongly_ends_with_invalid_argument(words: str) -> None:
    async def run(there: Scene, client: RawClient) -> None:
        await client.stream.write(OPENINGS[words])
        code, details = await client.end()
        assert (code, words in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)

    _against_server(run)


def test_a_breach_is_told_however_early_it_comes() -> None:
    async def run(there: Scene, client: RawClient) -> None:
        for _ in range(30):  # gRPC takes no status while the first message is being written
            client.begin()
            await client.stream.write(OPENINGS["no message"])
            assert (await client.end())[0] is grpc.StatusCode.INVALID_ARGUMENT

    _against_server(run)


def test_a_breach_is_told_to_a_client_that_does_not_read() -> None:
    async def run(there: Scene, client: RawClient) -> None:
        await client.open()
        flood = script(["flood", 100, 10_000])
        await client.send(*[_start(n, f"/{SERVICE}/UnaryStream", flood) for n in range(1, 100)])
        await client.send(ClientFrame(call_id=0))
        assert (await client.end())[0] is grpc.StatusCode.INVALID_ARGUMENT

    _against_server(run)


def test_settings_that_come_twice_end_the_tunnel_with_invalid_argument() -> None:
    async def run(there: Scene, client: RawClient) -> None:
        await client.open()
        await client.stream.write(OpenRequest(settings=SETTINGS).SerializeToString())
        assert (await client.end())[0] is grpc.StatusCode.INVALID_ARGUMENT

    _against_server(run)


CALL_FAULTS: dict[str, tuple[list[ClientFrame], str]] = {
    "metadata key": (
        [ClientFrame(call_id=1, method=UNARY, metadata=[Metadatum(key="Bad Key", text="v")])],
        "INTERNAL",
    ),
    "metadata value": (
        [ClientFrame(call_id=1, method=UNARY, metadata=[Metadatum(key="k", text="a\nb")])],
        "INTERNAL",
    ),
    "large metadata": (
        [ClientFrame(call_id=1, method=UNARY, metadata=[Metadatum(key="k", text="v" * 20000)])],
        "RESOURCE_EXHAUSTED",
    ),
    "large message": (
        [ClientFrame(call_id=1, method=UNARY, message=b"x", message_bytes_left=5_000_000)],
        "RESOURCE_EXHAUSTED",
    ),
    "huge message": (
        [ClientFrame(call_id=1, method=UNARY, message=b"x", message_bytes_left=(1 << 64) - 1)],
        "RESOURCE_EXHAUSTED",
    ),
    "beyond the window": (
        [_start(1, STREAM), _piece(1, WINDOW, 0)],
        "INTERNAL",
    ),
    "empty messages beyond the window": (
        [_start(1, STREAM)] + [ClientFrame(call_id=1, message=b"")] * (WINDOW // 64),
        "INTERNAL",
    ),
    "empty first piece": ([_start(1, STREAM), _piece(1, 0, 10)], "INTERNAL"),
    "empty last piece": (
        [_start(1, STREAM), _piece(1, 5, 0), _piece(1, 5, 0), _piece(1, 3, 3), _piece(1, 0, 3)],
        "INTERNAL",
    ),
    "piece too small": ([_start(1, STREAM), _piece(1, 5, 5), _piece(1, 3, 1)], "INTERNAL"),
    "piece too large": ([_start(1, STREAM), _piece(1, 5, 5), _piece(1, 6, 0)], "INTERNAL"),
    "cut message": (
        [_start(1, STREAM), _piece(1, 5, 5), ClientFrame(call_id=1, half_close=True)],
        "INTERNAL",
    ),
    "message after half close": (
        [_start(1, STREAM), ClientFrame(call_id=1, half_close=True), _piece(1, 5, 0)],
        "INTERNAL",
    ),
    "second message": ([_start(1, UNARY), _piece(1, 5, 0)], "INTERNAL"),
    "no message": ([ClientFrame(call_id=1, method=UNARY, half_close=True)], "INTERNAL"),
    "large grant": (
        [_start(1), *[ClientFrame(call_id=1, grant_bytes=(1 << 31) - 1)] * 2],
        "INTERNAL",
    ),
    "unknown method": ([_start(1, "/no/such")], "UNIMPLEMENTED"),
    "method of a strange form": ([_start(1, "no method \N{SNOWMAN}")], "UNIMPLEMENTED"),
    "sync method": ([_start(1, f"/{SERVICE}/Sync")], "UNIMPLEMENTED"),
}


@requirement("tunnel.rules")
@pytest.mark.parametrize("case", CALL_FAULTS)
def test_a_fault_of_one_call_ends_that_call_alone(case: str) -> None:
    async def run(there: Scene, client: RawClient) -> None:
        frames, code = CALL_FAULTS[case]
        await client.open()
        await client.send(*frames)
        assert (await client.status(1)).status_code == grpc.StatusCode[code].value[0]
        await client.send(_piece(1, 3, 0), ClientFrame(call_id=1, cancel=True, half_close=True))
        await client.send(_start(2, message=script(["send", "fine"])))
        assert (await client.status(2)).message == b"fine"

    _against_server(run)


IGNORED: dict[str, list[ClientFrame]] = {
    "an empty frame": [ClientFrame(call_id=1)],
    "a grant": [ClientFrame(call_id=1, grant_bytes=5)],
    "metadata that come late": [ClientFrame(call_id=1, metadata=[Metadatum(key="Bad Key")])],
    "half close, twice": [ClientFrame(call_id=1, half_close=True)] * 2,
}


@pytest.mark.parametrize("case", IGNORED)
def test_a_frame_that_says_nothing_new_is_ignored(case: str) -> None:
    async def run(there: Scene, client: RawClient) -> None:
        await client.open()
        await client.send(_start(1, message=script(["gate", "go"], ["send", "fine"])))
        await client.send(*IGNORED[case])
        await client.send(_start(2, message=script(["send", "seen"])))
        await client.status(2)
        there.service.gate("go").set()
        assert (await client.status(1)).message == b"fine"

    _against_server(run)


def test_fields_that_the_server_does_not_know_are_ignored() -> None:
    async def run(there: Scene, client: RawClient) -> None:
        await client.open()
        frame = _start(1, message=script(["send", "fine"])).SerializeToString() + b"\xf8\x07\x01"
        data = b"\x12" + bytes([len(frame)]) + frame + b"\xf8\x07\x01"
        await client.stream.write(data)
        assert (await client.status(1)).message == b"fine"

    _against_server(run)


def test_a_call_beyond_the_limit_is_refused_and_marked_as_not_begun() -> None:
    async def run(there: Scene, client: RawClient) -> None:
        await client.open()
        await client.send(_start(1), _start(2), _start(3))
        refused = await client.status(3)
        assert refused.status_code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert refused.refused
        await client.send(ClientFrame(call_id=1, cancel=True))
        await asyncio.wait_for(there.service.ended.wait(), 30)
        await client.send(_start(4, message=script(["send", "fine"])))
        assert (await client.status(4)).message == b"fine"

    _against_server(run, TunnelLimits(max_calls=2))


def test_a_deadline_ends_the_handler_without_a_word_of_the_client() -> None:
    async def run(there: Scene, client: RawClient) -> None:
        await client.open()
        await client.send(
            ClientFrame(call_id=1, method=UNARY, message=HANG, timeout_micros=200_000)
        )
        assert (await client.status(1)).status_code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        await asyncio.wait_for(there.service.ended.wait(), 30)
        assert "cancelled" in there.service.seen

    _against_server(run)


def test_the_answer_to_a_small_call_is_one_frame() -> None:
    async def run(there: Scene, client: RawClient) -> None:
        await client.open()
        await client.send(_start(1, message=script(["send", "a"])))
        await client.status(1)
        await client.send(_start(2, f"/{SERVICE}/UnaryStream", script(["send", "a"])))
        assert (await client.status(2)).message == b"a"
        assert client.frames == []

    _against_server(run)


def test_handlers_end_with_their_tunnel() -> None:
    async def run(there: Scene, client: RawClient) -> None:
        await client.open()
        await client.send(_start(1))
        await asyncio.wait_for(there.service.began.wait(), 30)
        await client.stream.done_writing()
        assert await client.end() == (grpc.StatusCode.OK, "")
        assert "cancelled" in there.service.seen

    _against_server(run)


def test_headers_leave_in_one_frame_with_an_answer_that_comes_at_once() -> None:
    async def run(there: Scene, client: RawClient) -> None:
        await client.open()
        quick = script(["headers", [["k", "v"]]], ["send", "answer"])
        await client.send(_start(1, f"/{SERVICE}/UnaryStream", quick))
        frame = await client.receive(lambda frame: frame.call_id == 1)
        assert frame.headers
        assert [entry.key for entry in frame.metadata] == ["k"]
        assert frame.message == b"answer"
        assert frame.status_code == 0
        assert frame.HasField("status_code")

    _against_server(run)


def test_headers_leave_without_an_answer_that_does_not_come() -> None:
    async def run(there: Scene, client: RawClient) -> None:
        await client.open()
        slow = script(["headers", [["k", "v"]]], ["gate", "wait"], ["send", "answer"])
        await client.send(_start(1, f"/{SERVICE}/UnaryStream", slow))
        frame = await client.receive(lambda frame: frame.call_id == 1)
        assert (frame.headers, frame.HasField("message")) == (True, False)
        there.service.gate("wait").set()
        frame = await client.receive(lambda frame: frame.call_id == 1)
        assert (frame.headers, frame.message) == (False, b"answer")

    _against_server(run)


def _against_server(
    run: Callable[[Scene, RawClient], Awaitable[None]], limits: TunnelLimits | None = None
) -> None:
    async def scenario() -> None:
        async with scene(server_limits=limits) as there, raw_client(there.port) as client:
            await asyncio.wait_for(run(there, client), 50)

    with logged() as records:
        asyncio.run(scenario())
    assert records == []
