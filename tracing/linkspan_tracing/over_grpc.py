"""OTLP over gRPC: one unary call, with bytes that are encoded already.

Above lies ``sending``. Source: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc.
"""

import contextlib
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from linkspan_tracing.sending import Answer, taken
from linkspan_tracing.settings import Destination

_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_AGAIN: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_OPTIONS: Final = (
    ("grpc.primary_user_agent", "linkspan-tracing"),
    # gRPC would wait up to two minutes before it looks again for a receiver that is back.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5000),
    # A request that is too large is the receiver's to refuse.
    ("grpc.max_send_message_length", -1),
)


class GrpcSender:
    """Sends over one channel, which connects when it is first used.

    Args:
        destination: where to.

    Raises:
        OSError: a file of a certificate or key cannot be read.
    """

    def __init__(self, destination: Destination) -> None:
        compression = (
            grpc.Compression.Gzip
            if destination.compression == "gzip"
            else grpc.Compression.NoCompression
        )
        if destination.secure:
            self._channel = grpc.secure_channel(
                destination.endpoint,
                grpc.ssl_channel_credentials(
                    _read(destination.certificate),
                    _read(destination.client_key),
                    _read(destination.client_certificate),
                ),
                options=_OPTIONS,
                compression=compression,
            )
        else:
            self._channel = grpc.insecure_channel(
                destination.endpoint, options=_OPTIONS, compression=compression
            )
        self._metadata = tuple(destination.headers.items())
        self._call: Any = self._channel.unary_unary(_METHOD)

    def send(self, request: bytes, timeout_seconds: float) -> Answer:
        """Send a request in protobuf, once. Never raises."""
        try:
            response: bytes = self._call(request, timeout=timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            return _refused(error)
        except Exception as error:  # noqa: BLE001 - a channel that is closed, a header gRPC refuses
            return Answer(taken=False, words=f"{type(error).__name__}: {error}")
        return taken(response)

    def close(self) -> None:
        """Close the channel; a call that runs ends with CANCELLED."""
        with contextlib.suppress(Exception):
            self._channel.close()


def _refused(error: Any) -> Answer:
    code: grpc.StatusCode = error.code()
    words = f"{code.name}: {error.details()}"
    pause_seconds = _pause_of(error)
    # A receiver that is overloaded for a while says how long; else the request is what is too much.
    again = code in _AGAIN or (
        code is grpc.StatusCode.RESOURCE_EXHAUSTED and pause_seconds is not None
    )
    return Answer(taken=False, again=again, pause_seconds=pause_seconds, words=words)


def _pause_of(error: Any) -> float | None:
    """Return what ``google.rpc.RetryInfo`` asks for, in seconds; None if there is none."""
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        with contextlib.suppress(DecodeError):
            for detail in Status.FromString(value).details:
                info = RetryInfo()
                if detail.Unpack(info):
                    return info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return None


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
