"""The pure parts: windows, assembly, outbox, deadlines, backoff, limits."""

import asyncio
import random
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.requirements import requirement

from linkspan.tunnel.v1.tunnel_pb2 import ClientFrame
from linkspan.tunnel.v1.tunnel_service_pb2 import OpenRequest
from linkspan_tunnel import NotBegunError, TunnelLimits
from linkspan_tunnel.assembly import Assembly, Intake
from linkspan_tunnel.backoff import FIRST_SECONDS, LONGEST_SECONDS, SETTLED_SECONDS, Backoff
from linkspan_tunnel.deadlines import GRAIN_SECONDS, Deadlines
from linkspan_tunnel.inbound import Inbound
from linkspan_tunnel.outbox import BATCH_BYTES, PIECE_BYTES, Outbound, Outbox


class Pipe:
    """An outbox, and the calls at its other end."""

    def __init__(self, calls: int, window: int, room: int) -> None:
        self.outbox = Outbox(OpenRequest, lambda: None)
        self.outbounds = [Outbound(call + 1, window) for call in range(calls)]
        self.inbounds = [Inbound(window, 1 << 20, single=False) for _ in range(calls)]
        self.intake = Intake(room, self._grant)
        self.got: list[list[bytes]] = [[] for _ in range(calls)]

    def _grant(self, call_id: int, size_bytes: int) -> None:
        self.outbox.granted(self.outbounds[call_id - 1], size_bytes)

    def send(self, call: int, data: bytes) -> bool:
        """Send unless another message is under way."""
        outbound = self.outbounds[call]
        if outbound.large is not None:
            return False
        if self.outbox.fits(outbound, len(data)):
            self.outbox.room(len(data)).frames.add(call_id=call + 1, message=data)
        else:
            self.outbox.send_large(outbound, data)
        return True

    def carry(self) -> int:
        """Move one message of the tunnel; returns its size."""
        data = self.outbox.take()
        for frame in OpenRequest.FromString(data).frames:
            self.inbounds[frame.call_id - 1].piece(frame.message, frame.message_bytes_left)
        return len(data)

    def read(self, call: int) -> None:
        """Read what is there of a call, and want more."""
        inbound = self.inbounds[call]
        while inbound.messages:
            self.got[call].append(self.intake.pop(call + 1, inbound))
        self.intake.want(call + 1, inbound)


@requirement("tunnel.flow")
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.sampled_from([4096, 20_000, 65536]))
def test_all_messages_arrive_whole_and_in_order_and_windows_are_kept(
    seed: int, calls: int, window: int
) -> None:
    rng = random.Random(seed)  # noqa: S311 - it keeps no secret
    pipe = Pipe(calls, window, rng.choice([1000, 50_000, 1 << 22]))
    sizes = [0, 1, 64, 1000, window - 64, window, PIECE_BYTES, PIECE_BYTES + 1, 200_000]
    wanted = [[rng.randbytes(rng.choice(sizes)) for _ in range(8)] for _ in range(calls)]
    left = [list(messages) for messages in wanted]
    while pipe.got != wanted:
        for call in rng.sample(range(calls), calls):
            if left[call] and pipe.send(call, left[call][0]):
                left[call].pop(0)
        if pipe.outbox.has_work():
            # A small message may join a batch that is almost full.
            assert pipe.carry() <= BATCH_BYTES + PIECE_BYTES + 10_000
        for call in range(calls):
            if rng.random() < 0.5 or not pipe.outbox.has_work():
                pipe.read(call)


def test_nothing_more_leaves_than_the_window_while_nobody_reads() -> None:
    pipe = Pipe(1, 65536, 1 << 22)
    sent = 0
    while pipe.send(0, b"x" * 1000):
        sent += 1
        while pipe.outbox.has_work():
            pipe.carry()
    assert sent == 65536 // 1064 + 1
    assert len(pipe.inbounds[0].messages) == 65536 // 1064


def test_pieces_of_calls_leave_in_turns_behind_small_frames() -> None:
    pipe = Pipe(3, 1 << 20, 1 << 22)
    for call in (0, 1):
        pipe.send(call, bytes([call]) * 500_000)
    pipe.send(2, b"small")
    for first in ({3}, {1, 2}, {1, 2}):
        data = pipe.outbox.take()
        turns = [frame.call_id for frame in OpenRequest.FromString(data).frames]
        assert turns[0] in first
        assert {1, 2} < {3, *turns}
        assert len(data) <= BATCH_BYTES + PIECE_BYTES


def test_a_piece_never_passes_a_frame_of_its_call_that_was_there_before() -> None:
    pipe = Pipe(2, 1 << 20, 1 << 22)
    for _ in range(5):
        pipe.send(0, b"x" * PIECE_BYTES)  # fills more than one message of the tunnel
    pipe.send(1, b"first")
    pipe.send(1, b"y" * 100_000)
    seen: list[ClientFrame] = []
    while pipe.outbox.has_work():
        seen += OpenRequest.FromString(pipe.outbox.take()).frames
    assert next(frame.message for frame in seen if frame.call_id == 2) == b"first"


def test_what_is_dropped_never_leaves() -> None:
    pipe = Pipe(2, 1 << 20, 1 << 22)
    pipe.send(0, b"x" * 500_000)
    pipe.send(1, b"y" * 50_000)
    pipe.outbox.drop(pipe.outbounds[0])
    frames = OpenRequest.FromString(pipe.outbox.take()).frames
    assert {frame.call_id for frame in frames} == {2}
    assert not pipe.outbox.has_work()


def test_numbers_of_messages_tell_what_was_taken() -> None:
    outbox = Outbox(OpenRequest, lambda: None)
    numbers: list[int] = []
    for _ in range(6):
        outbox.room(PIECE_BYTES)
        numbers.append(outbox.filling)
    outbox.take()
    assert [number > outbox.taken for number in numbers] == [False] * 3 + [True] * 3


def test_what_can_wait_wakes_nobody_until_something_comes_that_cannot() -> None:
    woken: list[str] = []
    outbox = Outbox(OpenRequest, lambda: woken.append("now"), lambda: woken.append("later"))
    outbox.room(10, can_wait=True).frames.add(call_id=1)
    outbox.room(10, can_wait=True).frames.add(call_id=2)
    assert set(woken) == {"later"}
    outbox.room(10).frames.add(call_id=3)
    assert woken[-1] == "now"
    frames = OpenRequest.FromString(outbox.take()).frames
    assert [frame.call_id for frame in frames] == [1, 2, 3]


def test_what_joins_a_frame_wakes_counts_and_comes_too_late_once_the_frame_has_left() -> None:
    woken: list[str] = []
    outbox = Outbox(OpenRequest, lambda: woken.append("now"), lambda: woken.append("later"))
    outbox.room(0, can_wait=True)
    number = outbox.filling
    assert outbox.joins(number, BATCH_BYTES // 2)
    assert woken[-1] == "now"
    assert not outbox.joins(number, BATCH_BYTES // 2)
    outbox.take()
    assert not outbox.joins(number, 1)


def test_room_is_given_to_who_asked_first() -> None:
    assembly = Assembly(100)
    assert assembly.ask(1, 60)
    assert not assembly.ask(2, 50)
    assert not assembly.ask(3, 10)
    assert not assembly.ask(2, 50)
    assert assembly.give_back(1) == [2, 3]
    assert assembly.give_back(2) == []
    assert assembly.give_back(9) == []


def test_a_message_larger_than_the_room_gets_all_of_it_when_it_is_free() -> None:
    assembly = Assembly(100)
    assert assembly.ask(1, 10)
    assert not assembly.ask(2, 1000)
    assert assembly.give_back(1) == [2]
    assert not assembly.ask(3, 1)
    assert assembly.give_back(2) == [3]


class Told:
    """Notes when it was told."""

    def __init__(self) -> None:
        self.at: float | None = None
        self.done = asyncio.Event()

    def expire(self) -> None:
        self.at = asyncio.get_running_loop().time()
        self.done.set()


def test_deadlines_are_told_after_they_are_over_and_not_if_removed() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(loop)
        now = loop.time()
        times = [now + after for after in (60, 0.05, 0.1, 0.05, 0.0, 0.2)]
        calls = [Told() for _ in times]
        ticks = [deadlines.add(time, call) for time, call in zip(times, calls, strict=True)]
        deadlines.remove(ticks[2], calls[2])
        await asyncio.wait_for(calls[5].done.wait(), 30)
        for index in (1, 3, 4, 5):
            told_at = calls[index].at
            assert told_at is not None
            assert 0 <= told_at - times[index] < GRAIN_SECONDS + 0.5
        assert calls[2].at is calls[0].at is None
        deadlines.remove(ticks[5], calls[5])
        deadlines.close()

    asyncio.run(run())


def test_pauses_grow_to_the_longest_and_start_anew_after_a_tunnel_that_lasted() -> None:
    backoff = Backoff()
    pauses = [backoff.failed(1.0) for _ in range(20)]
    assert pauses[0] == FIRST_SECONDS
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_SECONDS
    assert backoff.ended(0.0, 0.5) == LONGEST_SECONDS / 2
    assert backoff.ended(SETTLED_SECONDS, 1.0) == 0.0
    assert backoff.failed(1.0) == FIRST_SECONDS


@pytest.mark.parametrize(
    "wrong",
    [
        {"call_window_bytes": 100},
        {"call_window_bytes": 1 << 31},
        {"max_receive_message_bytes": 0},
        {"max_send_message_bytes": 1 << 40},
        {"max_metadata_bytes": 0},
        {"max_calls": 0},
        {"assembly_bytes": 0},
    ],
)
def test_limits_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TunnelLimits(**wrong)


def test_an_error_that_says_never_begun_is_an_error_of_grpc() -> None:
    assert issubclass(NotBegunError, grpc.aio.AioRpcError)
