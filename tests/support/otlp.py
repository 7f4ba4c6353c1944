"""A receiver of OTLP for metrics and logs, over HTTP and gRPC; one that can refuse, or say nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

Found = TypeVar("Found")
Manner: TypeAlias = Literal["takes", "refuses", "hangs"]

_WAIT_SECONDS: Final = 20.0
_HANG_SECONDS: Final = 60.0
_METRICS: Final = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


class SignalReceiver:
    """Takes metrics and logs on free ports while its block lasts.

    Attributes:
        requests: How many requests have come, taken or not.
    """

    def __init__(self, manner: Manner = "takes") -> None:
        self.requests = 0
        self._manner: Manner = manner
        self._released = threading.Event()
        self._news = threading.Condition()
        self._metrics: list[ExportMetricsServiceRequest] = []
        self._logs: list[ExportLogsServiceRequest] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, answer = receiver.take(self.path, body)
                with suppress(OSError):  # who hung up does not want it
                    self.send_response(status)
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self._grpc = grpc.server(ThreadPoolExecutor(4))
        self._grpc.add_generic_rpc_handlers((_Metrics(self),))
        self._grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> "SignalReceiver":
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self._grpc.start()
        return self

    def __exit__(self, *of_error: object) -> None:
        self._released.set()
        self._http.shutdown()
        self._http.server_close()
        self._grpc.stop(0).wait()

    @property
    def http(self) -> str:
        """Its address for OTLP over HTTP."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def grpc(self) -> str:
        """Its address for OTLP over gRPC; for metrics alone."""
        return f"http://127.0.0.1:{self._grpc_port}"

    def take(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Take a request as the manner is; returns status and body of the answer."""
        with self._news:
            self.requests += 1
            self._news.notify_all()
        if self._manner == "hangs":
            self._released.wait(_HANG_SECONDS)
        if self._manner != "takes":
            return 400, b""
        with self._news:
            answer = b""
            if path == "/v1/metrics":
                self._metrics.append(ExportMetricsServiceRequest.FromString(body))
                answer = ExportMetricsServiceResponse().SerializeToString()
            elif path == "/v1/logs":
                self._logs.append(ExportLogsServiceRequest.FromString(body))
                answer = ExportLogsServiceResponse().SerializeToString()
            self._news.notify_all()
        return 200, answer

    def metrics(self) -> Iterator[tuple[Resource, Metric]]:
        """Return all metrics so far, in the order they came."""
        for request in tuple(self._metrics):
            for of_resource in request.resource_metrics:
                for of_scope in of_resource.scope_metrics:
                    for metric in of_scope.metrics:
                        yield of_resource.resource, metric

    def logs(self) -> Iterator[tuple[Resource, str, LogRecord]]:
        """Return all log records so far, each with the name of its logger."""
        for request in tuple(self._logs):
            for of_resource in request.resource_logs:
                for of_scope in of_resource.scope_logs:
                    for record in of_scope.log_records:
                        yield of_resource.resource, of_scope.scope.name, record

    def wait_for(self, find: Callable[["SignalReceiver"], Found | None]) -> Found:
        """Wait until something is found; fails the test if that takes too long."""
        deadline = time.monotonic() + _WAIT_SECONDS
        with self._news:
            while True:
                found = find(self)
                if found is not None:
                    return found
                left = deadline - time.monotonic()
                assert left > 0, "did not come in time"
                self._news.wait(left)


class _Metrics(grpc.GenericRpcHandler):
    def __init__(self, receiver: SignalReceiver) -> None:
        self._receiver = receiver

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if cast("Any", handler_call_details).method != _METRICS:
            return None
        make: Any = grpc.unary_unary_rpc_method_handler  # bytes in, bytes out: no type of its own
        return make(self._take)

    def _take(self, body: bytes, context: object) -> bytes:
        del context
        return self._receiver.take("/v1/metrics", body)[1]


def attributes_of(pairs: Any) -> dict[str, Any]:
    """Return attributes of OTLP as a mapping of texts and numbers."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
