"""Peers of a chain of processes, traced by this library or by opentelemetry-instrumentation-grpc.

``peer.py server TRACING [NEXT_PORT]`` serves ``/peer.Peer/Ask`` and ``/peer.Peer/Watch``; where
there is a next peer, a call of either is passed on to it. ``peer.py client TRACING PORT`` calls both
once, below a span of its own.

TRACING is words joined by dashes: ``ours`` or ``published``; ``sync`` for gRPC of threads;
``spans`` for CLIENT spans of ours; ``alone`` to take the published one's patches out first.
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from typing import Any, Final

import grpc
from opentelemetry import trace

from linkspan_propagation import (
    contrib_client_interceptors,
    contrib_server_interceptor,
    contrib_sync_client_channel,
    contrib_sync_server_interceptor,
    remove_contrib_patches,
    server_interceptor,
    set_up_telemetry,
    sync_server_interceptor,
    traced_channel,
)

SERVICE: Final = "peer.Peer"


def handlers(ask: Any, watch: Any) -> list[grpc.GenericRpcHandler]:
    return [
        grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Ask": grpc.unary_unary_rpc_method_handler(ask),
                "Watch": grpc.unary_stream_rpc_method_handler(watch),
            },
        )
    ]


# --- grpc.aio -----------------------------------------------------------------------------------


def open_channel(tracing: set[str], port: str) -> grpc.aio.Channel:
    target = f"127.0.0.1:{port}"
    if "ours" in tracing:
        return traced_channel(grpc.aio.insecure_channel(target), spans="spans" in tracing)
    return grpc.aio.insecure_channel(target, interceptors=contrib_client_interceptors())


async def ask(channel: grpc.aio.Channel) -> bytes:
    make: Callable[..., Any] = channel.unary_unary
    response: bytes = await make(f"/{SERVICE}/Ask")(b"")
    return response


async def watch(channel: grpc.aio.Channel) -> list[bytes]:
    make: Callable[..., Any] = channel.unary_stream
    return [message async for message in make(f"/{SERVICE}/Watch")(b"")]


async def serve(tracing: set[str], next_port: str | None) -> None:
    async with AsyncExitStack() as stack:
        following = (
            None
            if next_port is None
            else await stack.enter_async_context(open_channel(tracing, next_port))
        )

        async def handle_ask(request: bytes, context: Any) -> bytes:
            del request, context
            return b"." if following is None else b"." + await ask(following)

        async def handle_watch(request: bytes, context: Any) -> AsyncIterator[bytes]:
            del request, context
            yield b"."
            if following is not None:
                for message in await watch(following):
                    yield message

        interceptor = server_interceptor() if "ours" in tracing else contrib_server_interceptor()
        server = grpc.aio.server(interceptors=[interceptor])
        server.add_generic_rpc_handlers(handlers(handle_ask, handle_watch))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await server.stop(1)


async def call(tracing: set[str], port: str) -> None:
    async with open_channel(tracing, port) as channel:
        with trace.get_tracer("peer").start_as_current_span("the client's own span"):
            print(len(await ask(channel)), len(await watch(channel)))


# --- sync gRPC ----------------------------------------------------------------------------------


def open_sync_channel(tracing: set[str], port: str) -> grpc.Channel:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    if "ours" in tracing:
        return traced_channel(channel, spans="spans" in tracing)
    return contrib_sync_client_channel(channel)


def ask_sync(channel: grpc.Channel) -> bytes:
    make: Callable[..., Any] = channel.unary_unary
    response: bytes = make(f"/{SERVICE}/Ask")(b"")
    return response


def watch_sync(channel: grpc.Channel) -> list[bytes]:
    make: Callable[..., Any] = channel.unary_stream
    return list(make(f"/{SERVICE}/Watch")(b""))


def serve_sync(tracing: set[str], next_port: str | None) -> None:
    with ExitStack() as stack:
        following = (
            None
            if next_port is None
            else stack.enter_context(open_sync_channel(tracing, next_port))
        )

        def handle_ask(request: bytes, context: Any) -> bytes:
            del request, context
            return b"." if following is None else b"." + ask_sync(following)

        def handle_watch(request: bytes, context: Any) -> Iterator[bytes]:
            del request, context
            yield b"."
            if following is not None:
                yield from watch_sync(following)

        ours = "ours" in tracing
        interceptor = sync_server_interceptor() if ours else contrib_sync_server_interceptor()
        server = grpc.server(ThreadPoolExecutor(4), interceptors=[interceptor])
        server.add_generic_rpc_handlers(handlers(handle_ask, handle_watch))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        print(port, flush=True)
        sys.stdin.read()
        server.stop(1).wait()


def call_sync(tracing: set[str], port: str) -> None:
    with (
        open_sync_channel(tracing, port) as channel,
        trace.get_tracer("peer").start_as_current_span("the client's own span"),
    ):
        print(len(ask_sync(channel)), len(watch_sync(channel)))


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    role, words, *ports = sys.argv[1:]
    tracing = set(words.split("-"))
    if "alone" in tracing:
        assert remove_contrib_patches()
    telemetry = set_up_telemetry(f"{role}-{words}", service_version="1.0", environ=os.environ)
    port = ports[0] if ports else None
    if role == "server":
        if "sync" in tracing:
            serve_sync(tracing, port)
        else:
            asyncio.run(serve(tracing, port))
    elif "sync" in tracing:
        call_sync(tracing, ports[0])
    else:
        asyncio.run(call(tracing, ports[0]))
    assert telemetry.shut_down(5)


if __name__ == "__main__":
    main()
