"""A service that does what its first request says, and a scene that offers it with and without tunnel.

The first request is a JSON list of steps. Messages are bytes.
"""

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from linkspan_tunnel import TunnelChannel, TunnelLimits, TunnelServer

SERVICE: Final = "test.Scripted"
Step = list[Any]
Channels = dict[str, grpc.aio.Channel]

OPTIONS: Final = (("grpc.so_reuseport", 0),)
CLIENT_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 250),
)


def script(*steps: Step) -> bytes:
    """Write a first request."""
    return json.dumps(steps).encode()


@dataclass
class Scripted:
    """The handlers.

    Attributes:
        seen: What handlers noted, in order.
        began: Set when a handler comes to a step `hang`.
        gates: Let handlers go on that wait at a step `gate`.
        ended: Set when a handler ends.
    """

    seen: list[str] = field(default_factory=list[str])
    began: asyncio.Event = field(default_factory=asyncio.Event)
    gates: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _running: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def gate(self, name: str) -> asyncio.Event:
        """Return a gate."""
        return self.gates.setdefault(name, asyncio.Event())

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return what to add to a server."""
        kinds: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "UnaryUnary": grpc.unary_unary_rpc_method_handler(self.unary),
            "UnaryStream": grpc.unary_stream_rpc_method_handler(self.generated),
            "Written": grpc.unary_stream_rpc_method_handler(self.written),
            "StreamUnary": grpc.stream_unary_rpc_method_handler(self.unary),
            "StreamStream": grpc.stream_stream_rpc_method_handler(self.generated),
            "Sync": grpc.unary_unary_rpc_method_handler(self.sync),
        }
        return grpc.method_handlers_generic_handler(SERVICE, kinds)

    def sync(self, request: bytes, context: Any) -> bytes:
        """Answer from a thread."""
        del context
        return request

    async def unary(self, request: Any, context: Any) -> bytes:
        """Answer with the last message that the script sends."""
        answer = b""
        async for message in self._run(request, context):
            answer = message
        return answer

    async def generated(self, request: Any, context: Any) -> AsyncGenerator[bytes, None]:
        """Answer by an async generator."""
        async for message in self._run(request, context):
            yield message

    async def written(self, request: Any, context: Any) -> None:
        """Answer by `write`."""
        async for message in self._run(request, context):
            await context.write(message)

    async def _run(self, request: Any, context: Any) -> AsyncIterator[bytes]:
        requests: AsyncIterator[bytes] | None = None
        if not isinstance(request, bytes):
            requests = aiter(request)
            request = await anext(requests, b"[]")
        context.add_done_callback(self._note_done)
        self._running += 1
        try:
            for name, *rest in _steps(request):
                async for message in self._step(name, rest, requests, context):
                    yield message
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        except GeneratorExit:
            self.seen.append("closed")
            raise
        finally:
            self.ended.set()

    def _note_done(self, context: Any) -> None:
        assert context is not None
        self.seen.append("done")
        self._running -= 1
        if self._running == 0:
            self._idle.set()

    async def settled(self) -> None:
        """Wait until no handler runs: one may end after its client has heard all."""
        while self._running:
            self._idle.clear()
            await self._idle.wait()

    async def _step(
        self, name: str, rest: list[Any], requests: AsyncIterator[bytes] | None, context: Any
    ) -> AsyncIterator[bytes]:
        match name, rest:
            case "send", [text]:
                yield text.encode()
            case "send_bytes", [size]:
                yield b"x" * size
            case "flood", [count, size]:
                for _ in range(count):
                    self.seen.append("sent")
                    yield b"x" * size
            case "send_back", []:
                yield b"no script"
            case "echo", [] if requests is not None:
                async for message in requests:
                    yield message
            case "read", [] if requests is not None:
                yield await anext(requests)
            case "metadata", []:
                received = [(key, value) for key, value in context.invocation_metadata()]
                yield repr(
                    sorted((key, value) for key, value in received if key != "user-agent")
                ).encode()
            case "time", []:
                yield str(context.time_remaining() is not None).encode()
            case "peer", []:
                yield context.peer().rpartition(":")[0].encode()
            case _:
                await self._act(name, rest, context)

    async def _act(self, name: str, rest: list[Any], context: Any) -> None:
        match name, rest:
            case "headers", [pairs]:
                await context.send_initial_metadata(_pairs(pairs))
            case "trailing", [pairs]:
                context.set_trailing_metadata(_pairs(pairs))
            case "code", [code, details]:
                context.set_code(grpc.StatusCode[code])
                context.set_details(details)
            case "abort", [code, details, pairs]:
                await context.abort(grpc.StatusCode[code], details, _pairs(pairs))
            case "raise", [words]:
                raise ValueError(words)
            case "cancel", []:
                raise asyncio.CancelledError
            case "hang", []:
                self.began.set()
                await asyncio.Event().wait()
            case "echo" | "read", []:
                pass  # there is but one request
            case "gate", [name]:
                await self.gate(name).wait()
            case _:
                raise AssertionError(f"no such step: {name}")


def _steps(request: bytes) -> list[Step]:
    """Read a first request; one that is no script is to be sent back."""
    if request != b"[]" and not request.startswith(b'[["'):
        return [["send_back"]]
    steps: list[Step] = json.loads(request)
    return steps


def _pairs(pairs: list[list[Any]]) -> tuple[tuple[str, str | bytes], ...]:
    """Read metadata: a value of a binary key is written in hexadecimal digits."""
    return tuple(
        (key, bytes.fromhex(value) if key.endswith("-bin") else value) for key, value in pairs
    )


@dataclass
class Scene:
    """A server, and ways to it.

    Attributes:
        service: Its handlers.
        server: The server.
        port: Where it listens.
        channels: A plain channel and a tunnel, by these names.
    """

    service: Scripted
    server: TunnelServer
    port: int
    channels: Channels

    @property
    def tunnel(self) -> TunnelChannel:
        """The tunnel."""
        channel = self.channels["tunnel"]
        assert isinstance(channel, TunnelChannel)
        return channel

    def unary(self, request: bytes, **kwargs: Any) -> Any:
        """Call through the tunnel."""
        return call(self.tunnel, "UnaryUnary")(request, **kwargs)

    def stream(self, request: bytes, **kwargs: Any) -> Any:
        """Call through the tunnel."""
        return call(self.tunnel, "UnaryStream")(request, **kwargs)


def call(channel: grpc.aio.Channel, name: str) -> Callable[..., Any]:
    """Return what makes calls of a method."""
    kinds = {"UnaryUnary": "unary_unary", "StreamUnary": "stream_unary", "Sync": "unary_unary"}
    kinds |= {"UnaryStream": "unary_stream", "Written": "unary_stream"}
    kinds |= {"StreamStream": "stream_stream", "Missing": "unary_unary"}
    make: Callable[..., Any] = getattr(channel, kinds[name])(f"/{SERVICE}/{name}")
    return make


def plain_channel(port: int, *options: tuple[str, int]) -> grpc.aio.Channel:
    """Return a channel with a connection of its own."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=(*CLIENT_OPTIONS, *options))


@asynccontextmanager
async def scene(
    *,
    client_limits: TunnelLimits | None = None,
    server_limits: TunnelLimits | None = None,
    interceptors: tuple[grpc.aio.ServerInterceptor, ...] = (),
) -> AsyncGenerator[Scene, None]:
    """Serve until the block is left."""
    service = Scripted()
    server = TunnelServer(
        grpc.aio.server(options=OPTIONS, interceptors=interceptors),
        interceptors=interceptors,
        limits=server_limits or TunnelLimits(),
    )
    server.add_generic_rpc_handlers((service.handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channels: Channels = {
        "plain": plain_channel(port),
        "tunnel": TunnelChannel(plain_channel(port), limits=client_limits or TunnelLimits()),
    }
    try:
        yield Scene(service, server, port, channels)
    finally:
        for channel in channels.values():
            await channel.close()
        await server.stop(None)


@contextmanager
def logged() -> Generator[list[str], None, None]:
    """Gather what is logged of the tunnel's code while the block runs; gRPC has noise of its own."""
    words: list[str] = []

    class Gathering(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            _, error, _ = record.exc_info or (None, None, None)
            text = "".join(traceback.format_exception(error)) if error is not None else ""
            if record.name.startswith("linkspan_tunnel") or "linkspan_tunnel" in text:
                words.append(f"{record.getMessage()} {text}")

    handler = Gathering(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield words
    finally:
        logging.getLogger().removeHandler(handler)
