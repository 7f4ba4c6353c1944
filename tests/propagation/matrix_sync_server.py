"""A server of threads with a method for each kind of call and each way in which a call can go.

The sibling of ``matrix_server.py``, with the same arguments and names, for ``grpc.server``.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from tests.propagation.matrix_server import (
    CONTROL,
    RESPONSES,
    SERVICE,
    TRAILERS,
    is_recorded,
    refuse,
)

from linkspan_propagation import (
    inject_into_fields,
    set_up_telemetry,
    sync_server_interceptor,
    traced_server,
)

_WAIT_SECONDS: Final = 30.0


@dataclass(slots=True)
class Call:
    """What a handler did in one call."""

    received_one: threading.Event = field(default_factory=threading.Event)
    acting: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    outcome: str = ""
    metadata: list[list[str]] = field(default_factory=list[list[str]])
    received: list[str] = field(default_factory=list[str])
    current: list[str] = field(default_factory=list[str])


class Matrix:
    """The handlers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, Call] = {}

    def call(self, call_id: str) -> Call:
        with self._lock:
            return self._calls.setdefault(call_id, Call())

    def begin(self, context: Any) -> Call:
        metadata = [
            [key, value if isinstance(value, str) else value.hex()]
            for key, value in context.invocation_metadata()
            if key in {"call-id", "k", "k-bin"}
        ]
        call = self.call(dict(metadata).get("call-id", ""))
        call.metadata = metadata
        call.current.append(inject_into_fields().get("traceparent", ""))
        if not context.add_callback(call.gone.set):
            call.gone.set()
        return call

    def act(self, way: str, call: Call, context: Any) -> None:
        call.acting.set()
        if way == "error":
            context.set_trailing_metadata((("trailer", "0"),))
            context.set_trailing_metadata(TRAILERS)
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details("no such thing")
        elif way == "int":
            context.set_code(5)
        elif way == "internal":
            context.set_code(grpc.StatusCode.INTERNAL)
            context.set_details("broken")
        elif way == "abort":
            context.set_trailing_metadata(TRAILERS)
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")
        elif way == "raise":
            raise ValueError("this is a bug")
        elif way == "raise_code":
            context.set_code(grpc.StatusCode.UNAVAILABLE)
            raise ValueError("this is a bug")
        elif way == "hang":
            call.gone.wait(_WAIT_SECONDS)
        elif way == "metadata":
            context.send_initial_metadata((("initial", "1"), ("initial", "2")))
            context.set_trailing_metadata(TRAILERS)

    def one_response(self, way: str, *, streams_requests: bool) -> Any:
        def handle(request: Any, context: Any) -> bytes:
            call = self.begin(context)
            try:
                self._receive(way, call, request, streams_requests)
                self.act(way, call, context)
            except BaseException as error:
                self._end(call, type(error).__name__)
                raise
            self._end(call, "returned")
            return b"response"

        return handle

    def many_responses(self, way: str, *, streams_requests: bool) -> Any:
        def handle(request: Any, context: Any) -> Iterator[bytes]:
            call = self.begin(context)
            outcome = "returned"
            try:
                self._receive(way, call, request, streams_requests)
                if way == "metadata":
                    self.act(way, call, context)
                yield RESPONSES[0]
                # What is current now has to be what was current before.
                call.current.append(inject_into_fields().get("traceparent", ""))
                if way != "metadata":
                    self.act(way, call, context)
                while way == "endless":
                    yield b"x" * 65536
                yield from RESPONSES[1:]
            except GeneratorExit:
                outcome = "abandoned"
                raise
            except BaseException as error:
                outcome = type(error).__name__
                raise
            finally:
                self._end(call, outcome)

        def handle_at_once(request: Any, context: Any) -> Iterator[bytes]:
            self._end(self.begin(context), "raised at once")
            raise ValueError("this is a bug")

        return handle_at_once if way == "raise_at_once" else handle

    def not_an_iterator(self, request: Any, context: Any) -> Any:
        """Return what gRPC cannot take one from after the other."""
        del request
        self._end(self.begin(context), "returned")
        return list(RESPONSES)

    def non_blocking(self, request: Any, context: Any, send: Callable[[Any], None]) -> None:
        """Answer from another thread, as gRPC's health service does."""
        call = self.begin(context)
        call.received.append(request.decode())

        def answer() -> None:
            for response in (*RESPONSES, None):
                send(response)
            self._end(call, "answered")

        threading.Thread(target=answer, daemon=True).start()

    def _receive(self, way: str, call: Call, request: Any, streams_requests: bool) -> None:
        if not streams_requests:
            call.received.append(request.decode())
            return
        for message in request:
            call.received.append(message.decode())
            call.received_one.set()
            if way == "early":
                return

    def _end(self, call: Call, outcome: str) -> None:
        call.outcome = outcome
        call.ended.set()


WAYS: Final = (
    *("ok", "error", "int", "internal", "abort", "raise", "raise_code", "raise_at_once", "hang"),
    *("metadata", "early", "endless", "bad_response", "bad_request"),
)


def handlers(matrix: Matrix) -> dict[str, "grpc.RpcMethodHandler[Any, Any]"]:
    """Return a handler for each kind and way."""
    found: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    words = {"u": "unary", "s": "stream"}
    for way in WAYS:
        for requests in "us":
            for responses in "us":
                method = (matrix.one_response if responses == "u" else matrix.many_responses)(
                    way, streams_requests=requests == "s"
                )
                make: Callable[..., grpc.RpcMethodHandler[Any, Any]] = getattr(
                    grpc, f"{words[requests]}_{words[responses]}_rpc_method_handler"
                )
                found[f"{requests}{responses}_{way}"] = make(
                    method,
                    request_deserializer=refuse if way == "bad_request" else None,
                    response_serializer=refuse if way == "bad_response" else None,
                )
    found["us_not_an_iterator"] = grpc.unary_stream_rpc_method_handler(matrix.not_an_iterator)

    def non_blocking(request: Any, context: Any, send: Callable[[Any], None]) -> None:
        matrix.non_blocking(request, context, send)

    vars(non_blocking)["experimental_non_blocking"] = True
    behavior: Any = non_blocking
    found["us_non_blocking"] = grpc.unary_stream_rpc_method_handler(behavior)
    return found


def control(matrix: Matrix) -> dict[str, "grpc.RpcMethodHandler[Any, Any]"]:
    """Return the methods by which a test learns what a handler did."""

    def wait_received_one(request: bytes, context: Any) -> bytes:
        del context
        assert matrix.call(request.decode()).received_one.wait(_WAIT_SECONDS)
        return b""

    def wait_acting(request: bytes, context: Any) -> bytes:
        del context
        assert matrix.call(request.decode()).acting.wait(_WAIT_SECONDS)
        return b""

    def seen(request: bytes, context: Any) -> bytes:
        del context
        call = matrix.call(request.decode())
        assert call.ended.wait(_WAIT_SECONDS)
        return json.dumps(
            {
                "outcome": call.outcome,
                "metadata": call.metadata,
                "received": call.received,
                "current": call.current,
                "control": inject_into_fields().get("traceparent", ""),
            }
        ).encode()

    return {
        method.__name__: grpc.unary_unary_rpc_method_handler(method)
        for method in (wait_received_one, wait_acting, seen)
    }


def new_server(form: str) -> grpc.Server:
    pool = ThreadPoolExecutor(16)
    attributes = {"server.address": "127.0.0.1"}
    if form == "full":
        return traced_server(
            grpc.server(pool),
            attributes=attributes,
            record=is_recorded,
            request_metadata=["k"],
            response_metadata=["trailer"],
            metrics=True,
            traceresponse=True,
        )
    if form == "traced":
        interceptor = sync_server_interceptor(attributes=attributes, record=is_recorded)
        return grpc.server(pool, interceptors=[interceptor])
    return grpc.server(pool)


def main() -> None:
    # gRPC logs each exception of a handler; whatever else is logged is a failure.
    logging.getLogger("grpc").setLevel(logging.CRITICAL)
    logging.basicConfig(level=logging.WARNING)
    telemetry = set_up_telemetry("matrix", service_version="1.0", environ=os.environ)
    matrix = Matrix()
    server = new_server(sys.argv[1])
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(SERVICE, handlers(matrix)),
            grpc.method_handlers_generic_handler(CONTROL, control(matrix)),
        ]
    )
    server.add_registered_method_handlers("matrix.Registered", {"ok": handlers(matrix)["uu_ok"]})
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(1).wait()
    assert telemetry.shut_down(5)


if __name__ == "__main__":
    main()
