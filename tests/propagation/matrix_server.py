"""A server with a method for each kind of call and each way in which a call can go.

Run as a process of its own: ``matrix_server.py bare|traced|full|contrib``, where ``full`` is traced
by the other of the two ways, and records all that there is to record. Methods are
``/matrix.Matrix/KIND_WAY``, where KIND is ``uu``, ``us``, ``su`` or ``ss`` (unary or stream,
request then response). A call names itself in the metadata ``call-id``; the methods of
``/matrix.Control`` wait for what its handler did and tell it. Messages are bytes.
"""

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from opentelemetry import trace

from linkspan_propagation import (
    contrib_server_interceptor,
    inject_into_fields,
    server_interceptor,
    set_up_telemetry,
    traced_server,
)

SERVICE: Final = "matrix.Matrix"
CONTROL: Final = "matrix.Control"
TRAILERS: Final = (("trailer", "1"), ("trailer", "2"))
RESPONSES: Final = (b"r0", b"r1", b"r2")
_WAIT_SECONDS: Final = 30.0


@dataclass(slots=True)
class Call:
    """What a handler did in one call."""

    received_one: asyncio.Event = field(default_factory=asyncio.Event)
    acting: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    release: threading.Event = field(default_factory=threading.Event)
    outcome: str = ""
    metadata: list[list[str]] = field(default_factory=list[list[str]])
    received: list[str] = field(default_factory=list[str])
    current: dict[str, str] = field(default_factory=dict[str, str])


class Matrix:
    """The handlers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: dict[str, Call] = {}
        self._met = 0
        self._all_met = asyncio.Event()

    def call(self, call_id: str) -> Call:
        return self._calls.setdefault(call_id, Call())

    def begin(self, context: Any) -> Call:
        metadata = [
            [key, value if isinstance(value, str) else value.hex()]
            for key, value in context.invocation_metadata()
            if key in {"call-id", "k", "k-bin"}
        ]
        call = self.call(dict(metadata).get("call-id", ""))
        call.metadata = metadata
        call.current = inject_into_fields()
        return call

    def receive(self, call: Call, message: bytes) -> None:
        call.received.append(message.decode())
        self._loop.call_soon_threadsafe(call.received_one.set)

    def end(self, call: Call, outcome: str) -> None:
        call.outcome = outcome
        self._loop.call_soon_threadsafe(call.ended.set)

    # --- what a handler does, by the way the call is to go ---------------------------------------

    async def act(self, way: str, call: Call, context: Any) -> None:
        call.acting.set()
        if way in {"error", "error_read_write"}:
            context.set_trailing_metadata(TRAILERS)
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details("no such thing")
        elif way == "int":
            context.set_code(5)
        elif way == "internal":
            context.set_code(grpc.StatusCode.INTERNAL)
            context.set_details("broken")
        elif way in {"abort", "abort_read_write"}:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now", TRAILERS)
        elif way == "abort_plain":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        elif way in {"raise", "raise_read_write"}:
            raise ValueError("this is a bug")
        elif way == "raise_code":
            context.set_code(grpc.StatusCode.UNAVAILABLE)
            raise ValueError("this is a bug")
        elif way == "hang":
            await asyncio.Event().wait()
        elif way == "stubborn":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return
        elif way == "nested":
            with trace.get_tracer("matrix").start_as_current_span(f"inside {call.received[0]}"):
                await self._meet(int(dict(call.metadata)["k"]))
        elif way == "metadata":
            await context.send_initial_metadata((("initial", "1"), ("initial", "2")))
            context.set_trailing_metadata(TRAILERS)

    async def _meet(self, parties: int) -> None:
        """Wait until so many handlers are here at once."""
        self._met += 1
        if self._met >= parties:
            self._all_met.set()
        await asyncio.wait_for(self._all_met.wait(), _WAIT_SECONDS)

    def act_sync(self, way: str, call: Call, context: Any) -> None:
        if way == "sync_error":
            context.set_trailing_metadata(TRAILERS)
            context.set_code(5)
            context.set_details("no such thing")
        elif way == "sync_abort":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now", TRAILERS)
        elif way == "sync_raise":
            raise ValueError("this is a bug")
        elif way == "sync_hang":
            call.release.wait(_WAIT_SECONDS)
            # The client's deadline comes first; ours is to have passed as well.
            threading.Event().wait(context.time_remaining())

    # --- the four kinds, in the styles that gRPC has ---------------------------------------------

    def one_response(self, way: str, *, streams_requests: bool) -> Any:
        async def handle(request: Any, context: Any) -> bytes:
            call = self.begin(context)
            try:
                await self._receive_all(way, call, request, context, streams_requests)
                await self.act(way, call, context)
            except BaseException as error:
                self.end(call, type(error).__name__)
                raise
            self.end(call, "returned")
            return b"response"

        def handle_sync(request: Any, context: Any) -> bytes:
            call = self.begin(context)
            try:
                self._receive_all_sync(way, call, request, streams_requests)
                self.act_sync(way, call, context)
            except BaseException as error:
                self.end(call, type(error).__name__)
                raise
            self.end(call, "returned")
            return b"response"

        return handle_sync if way.startswith("sync") else handle

    def many_responses(self, way: str, *, streams_requests: bool) -> Any:
        async def handle(request: Any, context: Any) -> AsyncIterator[bytes]:
            call = self.begin(context)
            outcome = "returned"
            try:
                await self._receive_all(way, call, request, context, streams_requests)
                if way == "metadata":
                    await self.act(way, call, context)
                yield RESPONSES[0]
                if way != "metadata":
                    await self.act(way, call, context)
                if way == "endless":
                    while True:
                        yield b"x" * 65536
                for response in RESPONSES[1:]:
                    yield response
            except GeneratorExit:
                outcome = "abandoned"
                raise
            except BaseException as error:
                outcome = type(error).__name__
                raise
            finally:
                # That a cancelled generator is left, not run, is up to when the cancellation comes.
                self.end(call, "CancelledError" if outcome == "abandoned" else outcome)

        async def handle_writing(request: Any, context: Any) -> None:
            call = self.begin(context)
            try:
                await self._receive_all(way, call, request, context, streams_requests)
                await context.write(RESPONSES[0])
                await self.act(way, call, context)
                for response in RESPONSES[1:]:
                    await context.write(response)
            except BaseException as error:
                self.end(call, type(error).__name__)
                raise
            self.end(call, "returned")

        def handle_sync(request: Any, context: Any) -> Iterator[bytes]:
            call = self.begin(context)
            try:
                self._receive_all_sync(way, call, request, streams_requests)
                yield RESPONSES[0]
                self.act_sync(way, call, context)
                yield from RESPONSES[1:]
            except BaseException as error:
                self.end(call, type(error).__name__)
                raise
            self.end(call, "returned")

        if way.startswith("sync"):
            return handle_sync
        return handle_writing if way.endswith("read_write") else handle

    async def _receive_all(
        self, way: str, call: Call, request: Any, context: Any, streams_requests: bool
    ) -> None:
        if not streams_requests:
            self.receive(call, request)
        elif way == "early":
            self.receive(call, await context.read())
        elif way.endswith("read_write"):
            while (message := await context.read()) is not grpc.aio.EOF:
                self.receive(call, message)
        else:
            async for message in request:
                self.receive(call, message)

    def _receive_all_sync(self, way: str, call: Call, request: Any, streams_requests: bool) -> None:
        if not streams_requests:
            self.receive(call, request)
        elif way == "sync_early":
            self.receive(call, next(request))
        else:
            for message in request:
                self.receive(call, message)


WAYS: Final = (
    "ok", "error", "int", "internal", "abort", "abort_plain", "raise", "raise_code", "hang", "stubborn",
    "metadata",
    "nested", "early", "bad_response", "bad_request", "read_write", "error_read_write",
    "abort_read_write",
    "raise_read_write", "endless", "sync_ok", "sync_error", "sync_abort", "sync_raise", "sync_hang",
    "sync_early",
)  # fmt: skip


def refuse(message: bytes) -> bytes:
    raise ValueError(f"{message!r} is not to my liking")


def handlers(matrix: Matrix) -> dict[str, "grpc.RpcMethodHandler[Any, Any]"]:
    """Return a handler for each kind and way."""
    found: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for way in WAYS:
        for requests in "us":
            for responses in "us":
                method = (matrix.one_response if responses == "u" else matrix.many_responses)(
                    way, streams_requests=requests == "s"
                )
                words = {"u": "unary", "s": "stream"}
                make: Callable[..., grpc.RpcMethodHandler[Any, Any]] = getattr(
                    grpc, f"{words[requests]}_{words[responses]}_rpc_method_handler"
                )
                found[f"{requests}{responses}_{way}"] = make(
                    method,
                    request_deserializer=refuse if way == "bad_request" else None,
                    response_serializer=refuse if way == "bad_response" else None,
                )
    return found


def control(matrix: Matrix) -> dict[str, "grpc.RpcMethodHandler[Any, Any]"]:
    """Return the methods by which a test learns what a handler did."""

    async def wait_received_one(request: bytes, context: Any) -> bytes:
        del context
        await asyncio.wait_for(matrix.call(request.decode()).received_one.wait(), _WAIT_SECONDS)
        return b""

    async def wait_acting(request: bytes, context: Any) -> bytes:
        del context
        await asyncio.wait_for(matrix.call(request.decode()).acting.wait(), _WAIT_SECONDS)
        return b""

    async def release(request: bytes, context: Any) -> bytes:
        del context
        matrix.call(request.decode()).release.set()
        return b""

    async def seen(request: bytes, context: Any) -> bytes:
        call = matrix.call(request.decode())
        await asyncio.wait_for(call.ended.wait(), _WAIT_SECONDS)
        # What this RPC itself has as its context: set also for RPCs that are not recorded.
        own = inject_into_fields()
        del context
        return json.dumps(
            {
                "outcome": call.outcome,
                "metadata": call.metadata,
                "received": call.received,
                "current": call.current,
                "control": own,
            }
        ).encode()

    return {
        method.__name__: grpc.unary_unary_rpc_method_handler(method)
        for method in (wait_received_one, wait_acting, release, seen)
    }


def is_recorded(full_method: str) -> bool:
    """Leave out the methods that only tests call."""
    return not full_method.startswith(f"/{CONTROL}/")


def new_server(form: str) -> grpc.aio.Server:
    span_names = {f"/{SERVICE}/uu_metadata": "a name of its own"}
    attributes = {"server.address": "127.0.0.1"}
    pool = ThreadPoolExecutor(8)
    if form == "full":
        return traced_server(
            grpc.aio.server(pool),
            span_names=span_names,
            attributes=attributes,
            record=is_recorded,
            request_metadata=["k"],
            response_metadata=["trailer"],
            metrics=True,
            traceresponse=True,
        )
    if form == "traced":
        interceptor = server_interceptor(
            span_names=span_names, attributes=attributes, record=is_recorded
        )
        return grpc.aio.server(pool, interceptors=[interceptor])
    if form == "contrib":
        return grpc.aio.server(pool, interceptors=[contrib_server_interceptor(record=is_recorded)])
    return grpc.aio.server(pool)


async def serve(form: str) -> None:
    loop = asyncio.get_running_loop()
    matrix = Matrix(loop)
    server = new_server(form)
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(SERVICE, handlers(matrix)),
            grpc.method_handlers_generic_handler(CONTROL, control(matrix)),
        ]
    )
    # The same method as gRPC's generated code registers them.
    server.add_registered_method_handlers(
        "matrix.Registered", {"ok": handlers(matrix)["uu_ok"], "hang": handlers(matrix)["uu_hang"]}
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    await server.stop(1)


def main() -> None:
    # gRPC logs each exception of a handler; whatever else is logged is a failure.
    logging.getLogger("grpc").setLevel(logging.CRITICAL)
    logging.basicConfig(level=logging.WARNING)
    form = sys.argv[1]
    traced = form != "bare"
    telemetry = set_up_telemetry("matrix", service_version="1.0", environ=os.environ)
    assert traced == telemetry.installed
    asyncio.run(serve(form))
    assert telemetry.shut_down(5)
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider) != traced


if __name__ == "__main__":
    main()
