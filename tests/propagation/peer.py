"""Peers of a chain of processes, traced by this library or by opentelemetry-instrumentation-grpc.

``peer.py server INSTRUMENTATION [NEXT_PORT]`` serves ``/peer.Peer/Ask`` and ``/peer.Peer/Watch``;
where there is a next peer, a call of either is passed on to it. ``peer.py client INSTRUMENTATION
PORT`` calls both once, below a span of its own. INSTRUMENTATION is ``ours`` or ``published``.
"""

import asyncio
import importlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import grpc
from opentelemetry import trace

from linkspan_propagation import server_interceptor, set_up_telemetry, traced_channel

SERVICE: Final = "peer.Peer"

# It has no types.
PUBLISHED: Final[Any] = importlib.import_module("opentelemetry.instrumentation.grpc")


def open_channel(instrumentation: str, port: str) -> grpc.aio.Channel:
    target = f"127.0.0.1:{port}"
    if instrumentation == "ours":
        return traced_channel(grpc.aio.insecure_channel(target))
    return grpc.aio.insecure_channel(target, interceptors=PUBLISHED.aio_client_interceptors())


async def ask(channel: grpc.aio.Channel) -> bytes:
    make: Callable[..., Any] = channel.unary_unary
    response: bytes = await make(f"/{SERVICE}/Ask")(b"")
    return response


async def watch(channel: grpc.aio.Channel) -> list[bytes]:
    make: Callable[..., Any] = channel.unary_stream
    return [message async for message in make(f"/{SERVICE}/Watch")(b"")]


async def serve(instrumentation: str, next_port: str | None) -> None:
    async with AsyncExitStack() as stack:
        following = (
            None
            if next_port is None
            else await stack.enter_async_context(open_channel(instrumentation, next_port))
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

        interceptor = (
            server_interceptor()
            if instrumentation == "ours"
            else PUBLISHED.aio_server_interceptor()
        )
        server = grpc.aio.server(interceptors=[interceptor])
        server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    SERVICE,
                    {
                        "Ask": grpc.unary_unary_rpc_method_handler(handle_ask),
                        "Watch": grpc.unary_stream_rpc_method_handler(handle_watch),
                    },
                )
            ]
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await server.stop(1)


async def call(instrumentation: str, port: str) -> None:
    async with open_channel(instrumentation, port) as channel:
        with trace.get_tracer("peer").start_as_current_span("the client's own span"):
            print(len(await ask(channel)), len(await watch(channel)))


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    role, instrumentation, *ports = sys.argv[1:]
    telemetry = set_up_telemetry(
        f"{role}-{instrumentation}", service_version="1.0", environ=os.environ
    )
    if role == "server":
        asyncio.run(serve(instrumentation, ports[0] if ports else None))
    else:
        asyncio.run(call(instrumentation, ports[0]))
    assert telemetry.shut_down(5)


if __name__ == "__main__":
    main()
