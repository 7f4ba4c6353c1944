"""OTLP over gRPC: `opentelemetry.proto.collector.trace.v1.TraceService/Export`.

Source: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc. Bytes are decoded by us rather than by
gRPC, which would call the sender's mistake an internal error.
"""

from typing import Any, Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from linkspan_traces.errors import BadRequestError, BusyError, StoreError
from linkspan_traces.intake import Intake
from linkspan_traces.otlp.decode import decode_protobuf

SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"

_RETRY_SECONDS: Final = 1


def new_server(intake: Intake, *, max_bytes: int) -> grpc.aio.Server:
    """Make a gRPC server with the one service, not started and without a port.

    Args:
        intake: Takes the spans.
        max_bytes: How large a request may be; a larger one gets RESOURCE_EXHAUSTED.
    """
    options = (
        ("grpc.max_receive_message_length", max_bytes),
        ("grpc.so_reuseport", 0),  # a port that another process serves on is in use
    )
    server = grpc.aio.server(options=options)
    handler: grpc.RpcMethodHandler[bytes, ExportTraceServiceResponse] = (
        grpc.unary_unary_rpc_method_handler(
            _Export(intake).export, response_serializer=ExportTraceServiceResponse.SerializeToString
        )
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Export": handler}),)
    )
    return server


class _Export:
    """The method."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def export(
        self, body: bytes, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> ExportTraceServiceResponse:
        """Take one request."""
        try:
            with self._intake.room() as room:
                room.grow(len(body))
                taken = await self._intake.take(body, decode_protobuf)
        except BadRequestError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except (BusyError, StoreError) as error:
            await context.abort_with_status(_come_again(str(error)))
        response = ExportTraceServiceResponse()
        if taken.rejected:
            response.partial_success.rejected_spans = taken.rejected
            response.partial_success.error_message = taken.reason
        return response


def _come_again(words: str) -> grpc.Status:
    detail = AnyMessage()
    detail.Pack(RetryInfo(retry_delay=Duration(seconds=_RETRY_SECONDS)))
    status = Status(code=code_pb2.UNAVAILABLE, message=words, details=[detail])
    return rpc_status.to_status(status)  # pyright: ignore[reportUnknownMemberType]
