"""A collector for tests: OTLP over gRPC in, a list of spans out.

Owns a real gRPC server on a port of its own, so that exporters, processes and the wire between them
are the real ones. Below lies ``spans``; ``trees`` draws what came where a wait fails.

Invariants: safe to use from any thread; spans are kept in the order in which they arrived; waiting
is for a condition and never for a time.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from linkspan_propagation.testing.spans import ExportedSpan, spans_of
from linkspan_propagation.testing.trees import draw_tree

_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_THREADS: Final = 4


class OtlpReceiver:
    """Receives spans between ``with`` and its end.

    Usage::

        with OtlpReceiver() as receiver:
            subprocess.Popen([...], env={**os.environ, **receiver.environ()})
            spans = receiver.wait_for(lambda spans: len(spans) == 3, what="the three spans")
    """

    def __init__(self) -> None:
        self._spans: list[ExportedSpan] = []
        self._arrived = threading.Condition()
        self._port = 0
        self._server = grpc.server(ThreadPoolExecutor(_THREADS, thread_name_prefix="otlp-receiver"))
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    _SERVICE,
                    {
                        "Export": grpc.unary_unary_rpc_method_handler(
                            self._export,
                            request_deserializer=ExportTraceServiceRequest.FromString,
                            response_serializer=ExportTraceServiceResponse.SerializeToString,
                        )
                    },
                ),
            )
        )

    def __enter__(self) -> "OtlpReceiver":
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop(grace=None).wait()

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:PORT``, to be used with the protocol ``grpc``."""
        return f"http://127.0.0.1:{self._port}"

    def environ(self) -> dict[str, str]:
        """Return the variables with which a process exports here, soon after a span has ended."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def spans(self) -> list[ExportedSpan]:
        """Return what has arrived so far, in order of arrival."""
        with self._arrived:
            return list(self._spans)

    def clear(self) -> None:
        """Forget what has arrived so far."""
        with self._arrived:
            self._spans.clear()

    def wait_for(
        self,
        predicate: Callable[[list[ExportedSpan]], bool],
        timeout_seconds: float = 30,
        what: str = "spans",
    ) -> list[ExportedSpan]:
        """Wait until ``predicate`` holds for what has arrived, and return that.

        Args:
            predicate: called with all spans so far, now and after each arrival, in this thread.
            timeout_seconds: the longest wait.
            what: what is waited for, for the error.

        Raises:
            AssertionError: it did not come to hold in time; the message draws what there is.
        """
        deadline = time.monotonic() + timeout_seconds
        with self._arrived:
            while not predicate(list(self._spans)):
                if not self._arrived.wait(max(0.0, deadline - time.monotonic())):
                    if predicate(list(self._spans)):
                        break
                    drawing = draw_tree(self._spans)
                    raise AssertionError(
                        f"{what}: did not arrive in {timeout_seconds} s; there is\n{drawing}"
                    )
            return list(self._spans)

    def _export(
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        del context
        arrived = list(spans_of(request))
        with self._arrived:
            self._spans += arrived
            self._arrived.notify_all()
        return ExportTraceServiceResponse()
