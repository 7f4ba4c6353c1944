"""A server in the place of a session server: it notes what it is sent, and redirects every call."""

import asyncio
import threading
from collections.abc import AsyncIterator, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from linkspan.session.v1.session_service_pb2 import DESCRIPTOR, ErrorReason
from linkspan_contract.status import make_status

_SERVICE = DESCRIPTOR.services_by_name["SessionService"]


@dataclass
class Impostor:
    """What it does, and what has come.

    Attributes:
        port: Where it serves.
        victim_port: A port of somebody else, whom nobody should connect to.
        victim_socket: A Unix socket of the same.
        owner: Whom it names as the owner of every session.
        metadata: The metadata of the calls that came.
        connected: How often somebody has connected to the victim.
    """

    port: int
    victim_port: int
    victim_socket: Path
    owner: str = ""
    metadata: list[dict[str, str | bytes]] = field(default_factory=list[dict[str, str | bytes]])
    connected: int = 0

    def forget(self) -> None:
        """Forget what has come."""
        self.metadata.clear()
        self.connected = 0

    async def answer(self, _request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Note a call, and redirect it."""
        self.metadata.append(dict(context.invocation_metadata()))
        reason = ErrorReason.ERROR_REASON_SESSION_ELSEWHERE
        status = make_status(reason, "elsewhere", owner=self.owner)
        await context.abort(status.code, status.details, status.trailing_metadata or ())
        yield b""


@contextmanager
def running_impostor(folder: Path) -> Generator[Impostor]:
    """Run one in a thread of its own until the block is left.

    Args:
        folder: Where the Unix socket of the victim is made.
    """
    ready: Future[Impostor] = Future()
    stopping = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(_serve(folder, ready, stopping)), daemon=True
    )
    thread.start()
    try:
        yield ready.result(30)
    finally:
        stopping.set()
        thread.join(30)


async def _serve(folder: Path, ready: "Future[Impostor]", stopping: threading.Event) -> None:
    def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        impostor.connected += 1
        writer.close()

    server = grpc.aio.server()
    path = folder / "victim"
    async with (
        await asyncio.start_server(note, "127.0.0.1", 0) as tcp,
        await asyncio.start_unix_server(note, path),
    ):
        port = server.add_insecure_port("127.0.0.1:0")
        impostor = Impostor(port, tcp.sockets[0].getsockname()[1], path)
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(
            impostor.answer
        )
        methods = {method.name: handler for method in _SERVICE.methods}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE.full_name, methods),)
        )
        await server.start()
        ready.set_result(impostor)
        await asyncio.to_thread(stopping.wait)
        await server.stop(None)
