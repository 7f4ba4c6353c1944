"""Receivers of OTLP that answer as a test tells them: over HTTP, and over gRPC."""

import gzip
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.support.waiting import PATIENCE_SECONDS


@dataclass
class Received:
    """What has arrived, and a way to wait for it."""

    requests: list[ExportTraceServiceRequest] = field(
        default_factory=list[ExportTraceServiceRequest]
    )
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    attempts: int = 0
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def add(self, body: bytes, headers: dict[str, str], *, taken: bool) -> None:
        with self.arrived:
            self.attempts += 1
            self.headers.append(headers)
            if taken:
                self.requests.append(ExportTraceServiceRequest.FromString(body))
            self.arrived.notify_all()

    def spans(self) -> list[Span]:
        with self.arrived:
            return [
                span
                for request in self.requests
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]

    def wait_for(self, predicate: Callable[[], bool]) -> None:
        with self.arrived:
            assert self.arrived.wait_for(predicate, PATIENCE_SECONDS), "it did not arrive"


@dataclass
class HttpAnswers:
    """What an HTTP receiver does.

    Attributes:
        statuses: the first answers; 200 after them.
        headers: of each answer that is not 200.
        body: of the answer 200.
        gate: is waited for before each answer.
        hangs_up: whether it closes the connection after each answer, without saying so.
        received: what has arrived.
        url: where it listens.
    """

    statuses: Sequence[int] = ()
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    gate: threading.Event | None = None
    hangs_up: bool = False
    received: Received = field(default_factory=Received)
    url: str = ""


@contextmanager
def http_receiver(answers: HttpAnswers | None = None) -> Generator[HttpAnswers]:
    """Serve OTLP over HTTP on a port of its own."""
    told = answers or HttpAnswers()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            headers = {key.lower(): value for key, value in self.headers.items()}
            number = told.received.attempts
            status = told.statuses[number] if number < len(told.statuses) else 200
            told.received.add(body, {"path": self.path, **headers}, taken=status == 200)
            if told.gate is not None:
                told.gate.wait(PATIENCE_SECONDS)
            answer = told.body if status == 200 else b"no"
            self.send_response(status)
            for key, value in told.headers.items() if status != 200 else ():
                self.send_header(key, value)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            self.close_connection = told.hangs_up

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that is gone is what some tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield told
        finally:
            if told.gate is not None:
                told.gate.set()
            server.shutdown()
            thread.join()


def take(context: grpc.ServicerContext, number: int) -> ExportTraceServiceResponse | None:
    """Take everything."""
    del context, number
    return None


@dataclass
class GrpcAnswers:
    """What a gRPC receiver does: ``answer`` runs for each call, and may abort it."""

    answer: Callable[[grpc.ServicerContext, int], ExportTraceServiceResponse | None] = take
    received: Received = field(default_factory=Received)
    url: str = ""


@contextmanager
def grpc_receiver(
    answers: GrpcAnswers | None = None, credentials: grpc.ServerCredentials | None = None
) -> Generator[GrpcAnswers]:
    """Serve OTLP over gRPC on a port of its own."""
    told = answers or GrpcAnswers()

    def export(request: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        number = told.received.attempts
        try:
            response = told.answer(context, number)
        except BaseException:
            told.received.add(request, metadata, taken=False)
            raise
        told.received.add(request, metadata, taken=True)
        return b"" if response is None else response.SerializeToString()

    make: Any = grpc.unary_unary_rpc_method_handler
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "opentelemetry.proto.collector.trace.v1.TraceService", {"Export": make(export)}
            ),
        )
    )
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
        told.url = f"http://127.0.0.1:{port}"
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
        told.url = f"https://localhost:{port}"
    server.start()
    try:
        yield told
    finally:
        server.stop(None).wait()
