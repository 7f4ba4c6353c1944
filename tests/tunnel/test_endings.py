"""Tunnels that break, are drained, or never open: calls hear of it at once, and go on when they can."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from tests.requirements import requirement
from tests.support.ports import free_port
from tests.support.processes import REPOSITORY
from tests.support.proxy import BrokenNetworkProxy, running_proxy
from tests.support.waiting import wait_until
from tests.tunnel.raw import SERVER_SETTINGS, raw_server
from tests.tunnel.scripted import OPTIONS, call, logged, plain_channel, scene, script

from linkspan.tunnel.v1.tunnel_service_pb2 import OpenRequest, OpenResponse
from linkspan_tunnel import NotBegunError, TunnelChannel
from linkspan_tunnel.outbox import Outbox

HANG = script(["send", "a"], ["hang"])
QUICK = script(["send", "quick"])
State = grpc.ChannelConnectivity


class Server:
    """A server in a process of its own."""

    def __init__(self, port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.tunnel.serve", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@contextmanager
def served(port: int = 0) -> Generator[Server, None, None]:
    server = Server(port)
    try:
        yield server
    finally:
        server.kill()
        server.process.communicate()


async def _hanging(channel: grpc.aio.Channel) -> Any:
    """Return a call that runs in its handler."""
    rpc = call(channel, "UnaryStream")(HANG)
    assert await rpc.read() == b"a"
    return rpc


async def _broken(rpc: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(rpc.read(), 30)
    return caught.value


@requirement("tunnel.endings")
def test_a_killed_server_fails_its_calls_at_once_and_its_successor_is_found() -> None:
    async def run() -> None:
        with served(free_port()) as server:
            channel = TunnelChannel(plain_channel(server.port))
            rpcs = [await _hanging(channel) for _ in range(3)]
            server.kill()
            for rpc in rpcs:
                error = await _broken(rpc)
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                assert "the tunnel broke" in (error.details() or "")
                assert not isinstance(error, NotBegunError)
            with pytest.raises(NotBegunError) as caught:
                await call(channel, "UnaryUnary")(QUICK, timeout=30)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            with served(server.port):
                answer = call(channel, "UnaryUnary")(QUICK, timeout=20, wait_for_ready=True)
                assert await answer == b"quick"
            await channel.close()

    _run(run())


@requirement("tunnel.endings")
def test_a_server_that_is_stopped_in_its_tracks_is_given_up_by_keepalive() -> None:
    async def run() -> None:
        with served(free_port()) as server:
            keepalive = (("grpc.keepalive_time_ms", 500), ("grpc.keepalive_timeout_ms", 500))
            pings = (
                ("grpc.http2.ping_timeout_ms", 500),
                ("grpc.http2.max_pings_without_data", 0),
                ("grpc.keepalive_permit_without_calls", 1),
            )
            channel = TunnelChannel(plain_channel(server.port, *keepalive, *pings))
            rpc = await _hanging(channel)
            server.process.send_signal(signal.SIGSTOP)
            try:
                error = await _broken(rpc)
            finally:
                server.process.send_signal(signal.SIGCONT)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert not isinstance(error, NotBegunError)
            answer = call(channel, "UnaryUnary")(QUICK, timeout=20, wait_for_ready=True)
            assert await answer == b"quick"
            await channel.close()

    _run(run())


def test_a_cut_connection_fails_its_calls_and_the_next_call_has_a_new_one() -> None:
    async def run(proxy: BrokenNetworkProxy) -> None:
        async with scene() as there:
            proxy.upstream = there.port
            channel = TunnelChannel(plain_channel(proxy.port))
            rpc = await _hanging(channel)
            proxy.reset()
            error = await _broken(rpc)
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            answer = call(channel, "UnaryUnary")(QUICK, timeout=30, wait_for_ready=True)
            assert await answer == b"quick"
            await asyncio.wait_for(there.service.ended.wait(), 30)
            assert "cancelled" in there.service.seen
            await channel.close()

    with running_proxy() as proxy:
        _run(run(proxy))
        wait_until(lambda: not vars(proxy)["_links"], "the proxy's connections are gone")


@requirement("tunnel.not-begun")
def test_without_a_server_calls_fail_as_never_begun_and_those_that_wait_for_one_wait() -> None:
    async def run() -> None:
        channel = TunnelChannel(plain_channel(free_port()))
        make = call(channel, "UnaryUnary")
        waiting = make(QUICK, timeout=0.5, wait_for_ready=True)
        for _ in range(3):
            with pytest.raises(NotBegunError) as caught:
                await make(QUICK)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "no tunnel" in (caught.value.details() or "")
        assert await waiting.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await channel.close()

    _run(run())


@requirement("tunnel.not-begun")
def test_calls_that_never_left_are_told_apart_from_those_that_may_have_run() -> None:
    ending = asyncio.Event()

    async def serve(context: Any) -> None:
        await context.read()
        settings = OpenResponse()
        settings.settings.CopyFrom(SERVER_SETTINGS)
        settings.settings.call_window_bytes = 1 << 28
        settings.settings.max_message_bytes = 1 << 28
        await context.write(settings.SerializeToString())
        assert OpenRequest.FromString(await context.read()).frames[0].method
        await ending.wait()  # and reads no more, so that HTTP/2 takes no more
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    async def run() -> None:
        async with raw_server(serve) as channel:
            make = call(channel, "UnaryUnary")
            await channel.channel_ready()
            left = make(b"x" * 50_000_000)
            await left.wait_for_connection()
            await _stuck(channel)
            # gRPC may still take one message of the tunnel before it says that the stream is over.
            behind = [make(b"x" * 30_000) for _ in range(10)]
            ending.set()
            for rpc, unbegun in ((left, False), (behind[-1], True)):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await asyncio.wait_for(rpc, 30)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                assert isinstance(caught.value, NotBegunError) == unbegun

    _run(run())


def test_a_server_without_tunnels_is_told_apart() -> None:
    async def run() -> None:
        server = grpc.aio.server(options=OPTIONS)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channel = TunnelChannel(plain_channel(port))
        with pytest.raises(NotBegunError) as caught:
            await call(channel, "UnaryUnary")(QUICK)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        await channel.close()
        await server.stop(None)

    _run(run())


@requirement("tunnel.endings")
def test_a_draining_server_ends_what_runs_and_begins_nothing() -> None:
    async def run() -> None:
        async with scene() as there:
            running = there.unary(script(["gate", "go"], ["send", "done"]))
            assert await there.unary(QUICK) == b"quick"
            there.server.drain()
            while there.tunnel.get_state() is State.READY:
                await there.tunnel.wait_for_state_change(State.READY)
            with pytest.raises(NotBegunError) as caught:
                await there.unary(QUICK)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "draining" in (caught.value.details() or "")
            assert await call(there.channels["plain"], "UnaryUnary")(QUICK) == b"quick"
            there.service.gate("go").set()
            assert await running == b"done"

    _run(run())


def test_a_server_that_stops_with_grace_ends_as_soon_as_its_calls_have() -> None:
    async def run() -> None:
        async with scene() as there:
            running = there.unary(script(["gate", "go"], ["send_bytes", 1_000_000]))
            assert await there.unary(QUICK) == b"quick"
            stopping = asyncio.ensure_future(there.server.stop(60))
            there.service.gate("go").set()
            assert len(await running) == 1_000_000
            await asyncio.wait_for(stopping, 30)

    _run(run())


def test_a_server_that_stops_without_a_tunnel_in_use_does_not_wait() -> None:
    async def run() -> None:
        async with scene() as there:
            assert await there.unary(QUICK) == b"quick"
            await asyncio.wait_for(there.server.stop(60), 30)

    _run(run())


def test_a_server_that_stops_cancels_what_outlasts_its_grace() -> None:
    async def run() -> None:
        async with scene() as there:
            rpc = await _hanging(there.tunnel)
            await asyncio.wait_for(there.server.stop(0.2), 30)
            assert (await _broken(rpc)).code() is grpc.StatusCode.UNAVAILABLE
            assert "cancelled" in there.service.seen

    _run(run())


def test_a_server_that_ends_each_tunnel_at_once_is_not_asked_without_pause() -> None:
    opened = 0

    async def serve(context: Any) -> None:
        nonlocal opened
        opened += 1
        settings = OpenResponse(settings=SERVER_SETTINGS)
        await context.read()
        await context.write(settings.SerializeToString())

    async def run() -> None:
        async with raw_server(serve) as channel:
            loop = asyncio.get_running_loop()
            end = loop.time() + 1.0
            while loop.time() < end or opened < 2:
                rpc = call(channel, "UnaryUnary")(QUICK)
                assert await rpc.code() is grpc.StatusCode.UNAVAILABLE
                await asyncio.sleep(0)
            assert opened <= 20

    _run(run())


def test_states_are_those_of_the_tunnel() -> None:
    async def run() -> None:
        async with scene() as there:
            channel = there.tunnel
            assert channel.get_state() is State.IDLE
            assert channel.get_state(try_to_connect=True) is State.CONNECTING
            await asyncio.wait_for(channel.channel_ready(), 30)
            assert channel.get_state() is State.READY
            await channel.close()
            await channel.close()
            assert channel.get_state() is State.SHUTDOWN
            with pytest.raises(grpc.aio.UsageError):
                await channel.channel_ready()

    _run(run())


def test_closing_while_a_tunnel_is_opened_fails_the_calls_that_wait_for_it() -> None:
    async def serve(context: Any) -> None:
        await context.read()
        await context.read()

    async def run() -> None:
        async with raw_server(serve) as channel:
            rpc = call(channel, "UnaryUnary")(QUICK)
            await asyncio.sleep(0)
            await channel.close()
            assert rpc.cancelled()

    _run(run())


def test_an_asyncio_channel_is_a_context_manager() -> None:
    async def run() -> None:
        async with scene() as there, TunnelChannel(plain_channel(there.port)) as channel:
            assert await call(channel, "UnaryUnary")(QUICK) == b"quick"

    _run(run())


async def _stuck(channel: TunnelChannel) -> None:
    """Wait until HTTP/2 takes no more, which nothing but the lack of progress tells."""
    tunnel: object = vars(channel)["_tunnel"]
    outbox: Outbox[OpenRequest] = vars(tunnel)["_outbox"]
    taken, still = -1, 0
    while still < 3:
        still = still + 1 if taken == outbox.taken else 0
        taken = outbox.taken
        await asyncio.sleep(0.2)


def _run(scenario: Coroutine[Any, Any, None]) -> None:
    with logged() as words:
        asyncio.run(asyncio.wait_for(scenario, 50))
    assert words == []
