"""Whatever frames come, in whatever order: the tunnel ends with a clear status or goes on."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.requirements import requirement
from tests.tunnel.raw import (
    SERVER_SETTINGS,
    RawClient,
    answering,
    raw_client,
    raw_server,
)
from tests.tunnel.scripted import SERVICE, call, logged, scene, script

from linkspan.tunnel.v1.tunnel_pb2 import ClientFrame, Draining, Metadatum, ServerFrame
from linkspan.tunnel.v1.tunnel_service_pb2 import OpenRequest, OpenResponse
from linkspan_tunnel import TunnelLimits
from linkspan_tunnel.limits import MAX_MESSAGE_BYTES

IDS = st.integers(0, 4)
SIZES = st.one_of(st.integers(0, 20), st.just(5000), st.integers(0, (1 << 64) - 1))
MESSAGES = st.one_of(st.none(), st.binary(max_size=20), st.just(b"x" * 5000))
METADATA = st.lists(
    st.builds(
        Metadatum,
        key=st.one_of(st.sampled_from(["k", "k-bin", "", "Bad"]), st.text(max_size=5)),
        text=st.text(max_size=5),
    ),
    max_size=2,
)
METHODS = st.sampled_from(
    ["", "", "", *[f"/{SERVICE}/{name}" for name in ("UnaryUnary", "UnaryStream", "StreamStream")]]
)
CLIENT_FRAMES = st.builds(
    ClientFrame,
    call_id=IDS,
    method=METHODS,
    metadata=METADATA,
    timeout_micros=st.one_of(st.just(0), SIZES),
    message=st.one_of(MESSAGES, st.just(script(["send", "a"], ["echo"]))),
    message_bytes_left=st.one_of(st.just(0), SIZES),
    half_close=st.booleans(),
    cancel=st.booleans(),
    grant_bytes=st.integers(0, (1 << 32) - 1),
)
SERVER_FRAMES = st.builds(
    ServerFrame,
    call_id=IDS,
    headers=st.booleans(),
    metadata=METADATA,
    message=MESSAGES,
    message_bytes_left=st.one_of(st.just(0), SIZES),
    status_code=st.one_of(st.none(), st.integers(0, 20)),
    status_message=st.text(max_size=5),
    trailing_metadata=METADATA,
    refused=st.booleans(),
    grant_bytes=st.integers(0, (1 << 32) - 1),
)
REQUESTS = st.one_of(
    st.binary(max_size=30),
    st.builds(OpenRequest, frames=st.lists(CLIENT_FRAMES, max_size=6)).map(
        lambda request: request.SerializeToString()
    ),
)
RESPONSES = st.one_of(
    st.binary(max_size=30),
    st.builds(
        OpenResponse,
        frames=st.lists(SERVER_FRAMES, max_size=6),
        draining=st.one_of(st.none(), st.builds(Draining, last_call_id=IDS)),
    ).map(lambda response: response.SerializeToString()),
)
WRITE_REFUSED = "Internal error from Core"
"""What grpc.aio makes of it when the server has ended the stream while something is being written."""

BOUNDED = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
SMALL = TunnelLimits(call_window_bytes=4096, assembly_bytes=8192)


@requirement("tunnel.rules")
@BOUNDED
@given(st.lists(REQUESTS, max_size=8))
def test_a_server_outlives_any_client(requests: list[bytes]) -> None:
    async def run() -> None:
        async with scene(server_limits=SMALL) as there:
            async with raw_client(there.port) as client:
                await client.open()
                await _send(client, requests)
            assert await there.unary(script(["send", "fine"]), timeout=30) == b"fine"

    _run(run())


async def _send(client: RawClient, requests: list[bytes]) -> None:
    try:
        for request in requests:
            await client.stream.write(request)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass
    await client.stream.done_writing()
    code, words = await client.end()
    if words != WRITE_REFUSED:
        assert code in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}, words


@requirement("tunnel.rules")
@BOUNDED
@given(st.lists(RESPONSES, max_size=8))
def test_a_client_outlives_any_server(responses: list[bytes]) -> None:
    async def run() -> None:
        async with raw_server(answering(*responses), limits=SMALL) as channel:
            rpcs = [
                call(channel, "UnaryUnary")(b"x", timeout=0.3),
                call(channel, "UnaryStream")(b"x" * 10_000, timeout=0.3),
                call(channel, "StreamStream")([b"x", b"y" * 10_000], timeout=0.3),
            ]
            for rpc in rpcs[1:]:
                try:
                    while isinstance(await rpc.read(), bytes):
                        pass
                except grpc.aio.AioRpcError:
                    pass
            codes = [await rpc.code() for rpc in rpcs]
            assert all(isinstance(code, grpc.StatusCode) for code in codes)

    _run(run())


def test_the_frames_of_the_fuzz_are_within_reach_of_all_rules() -> None:
    """The sizes that are drawn go beyond every limit that there is."""
    assert SERVER_SETTINGS.max_message_bytes < MAX_MESSAGE_BYTES < (1 << 64) - 1
    assert SMALL.call_window_bytes < 5000 < SMALL.assembly_bytes


def _run(scenario: Coroutine[Any, Any, None]) -> None:
    with logged() as words:
        asyncio.run(asyncio.wait_for(scenario, 50))
    assert words == []
