"""Sides of a tunnel that say whatever a test wants: a client of frames, and a server of frames."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
from tests.tunnel.scripted import OPTIONS, plain_channel

from linkspan.tunnel.v1.tunnel_pb2 import ClientFrame, ServerFrame, Settings
from linkspan.tunnel.v1.tunnel_service_pb2 import OpenRequest, OpenResponse
from linkspan_tunnel import SERVICE_NAME, TunnelChannel, TunnelLimits

SETTINGS = Settings(call_window_bytes=65536, max_message_bytes=1 << 20, max_metadata_bytes=8192)
SERVER_SETTINGS = Settings(
    call_window_bytes=65536, max_message_bytes=1 << 20, max_metadata_bytes=8192, max_calls=100
)
OPEN = f"/{SERVICE_NAME}/Open"


class RawClient:
    """A tunnel to a server, made of frames."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        make: Callable[..., Any] = channel.stream_stream
        self._make: Callable[[], Any] = make(OPEN)
        self.stream: Any = self._make()
        self.frames: list[ServerFrame] = []
        """What has come so far."""

    def begin(self) -> None:
        """Begin another tunnel in the place of this one."""
        self.stream.cancel()
        self.stream = self._make()

    async def open(self, settings: Settings = SETTINGS) -> None:
        """Exchange settings."""
        await self.stream.write(OpenRequest(settings=settings).SerializeToString())
        first = OpenResponse.FromString(await self.stream.read())
        assert first.HasField("settings")

    async def send(self, *frames: ClientFrame) -> None:
        """Send frames in one message."""
        await self.stream.write(OpenRequest(frames=frames).SerializeToString())

    async def receive(self, until: Callable[[ServerFrame], bool]) -> ServerFrame:
        """Read until a frame comes that is wanted, and return it."""
        while True:
            for index, frame in enumerate(self.frames):
                if until(frame):
                    return self.frames.pop(index)
            data = await asyncio.wait_for(self.stream.read(), 30)
            assert isinstance(data, bytes), "the tunnel has ended"
            self.frames.extend(OpenResponse.FromString(data).frames)

    async def status(self, call_id: int) -> ServerFrame:
        """Return the frame with which a call ends."""
        return await self.receive(
            lambda frame: frame.call_id == call_id and frame.HasField("status_code")
        )

    async def end(self) -> tuple[grpc.StatusCode, str]:
        """Return how the tunnel ends."""
        with suppress(grpc.aio.AioRpcError):
            while isinstance(await asyncio.wait_for(self.stream.read(), 30), bytes):
                pass
        code = await asyncio.wait_for(self.stream.code(), 30)
        return code, await self.stream.details()


@asynccontextmanager
async def raw_client(port: int) -> AsyncGenerator[RawClient, None]:
    """Open a tunnel, without settings, until the block is left."""
    channel = plain_channel(port)
    client = RawClient(channel)
    try:
        yield client
    finally:
        client.stream.cancel()
        await channel.close()


@asynccontextmanager
async def raw_server(
    serve: Callable[[Any], Awaitable[None]],
    *,
    limits: TunnelLimits | None = None,
    open_timeout_seconds: float = 5.0,
) -> AsyncGenerator[TunnelChannel, None]:
    """Serve tunnels by a handler of bytes; gives a channel to it."""

    async def handle(_requests: Any, context: Any) -> None:
        await serve(context)

    server = grpc.aio.server(options=OPTIONS)
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(handle)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE_NAME, {"Open": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = TunnelChannel(
        plain_channel(port),
        limits=limits or TunnelLimits(),
        open_timeout_seconds=open_timeout_seconds,
    )
    try:
        yield channel
    finally:
        await channel.close()
        await server.stop(None)


def answering(*answers: bytes | OpenResponse) -> Callable[[Any], Awaitable[None]]:
    """Return a handler that sends settings, waits for a call, answers it, and waits for the end."""

    async def serve(context: Any) -> None:
        await context.read()
        await context.write(OpenResponse(settings=SERVER_SETTINGS).SerializeToString())
        while True:
            data = await context.read()
            if not isinstance(data, bytes):
                return
            if any(frame.method for frame in OpenRequest.FromString(data).frames):
                for answer in answers:
                    await context.write(
                        answer if isinstance(answer, bytes) else answer.SerializeToString()
                    )

    return serve
