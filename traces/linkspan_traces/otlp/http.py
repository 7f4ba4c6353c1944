"""OTLP over HTTP: `POST /v1/traces`, in protobuf or JSON.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp. An answer is in the form of its request;
an error is a `google.rpc.Status` in that form.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from linkspan_traces.errors import BadRequestError, BusyError, StoreError, TooLargeError
from linkspan_traces.intake import Intake
from linkspan_traces.model import Decoded
from linkspan_traces.otlp.decode import decode_json, decode_protobuf, unpack
from linkspan_traces.web.exchange import Exchange

TRACES_PATH: Final = "/v1/traces"

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_ENCODINGS: Final = ("", "identity", "gzip")
_RETRY_AFTER: Final = {"retry-after": "1"}


class OtlpHttp:
    """The endpoint."""

    def __init__(self, intake: Intake, *, max_bytes: int) -> None:
        """Make it.

        Args:
            intake: Takes the spans.
            max_bytes: How large a request may be, as it comes and unpacked.
        """
        self._intake = intake
        self._max_bytes = max_bytes

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        media = (exchange.header("content-type") or "").partition(";")[0].strip().lower()
        if exchange.method != "POST":
            await _fail(
                exchange,
                media,
                HTTPStatus.METHOD_NOT_ALLOWED,
                code_pb2.UNIMPLEMENTED,
                "spans are sent with POST",
                {"allow": "POST"},
            )
            return
        encoding = (exchange.header("content-encoding") or "").lower()
        if media not in (PROTOBUF, JSON) or encoding not in _ENCODINGS:
            await _fail(
                exchange,
                media,
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                code_pb2.INVALID_ARGUMENT,
                f"spans come as {PROTOBUF} or {JSON}, as they are or with gzip",
            )
            return
        await self._take(exchange, media, encoding)

    async def _take(self, exchange: Exchange, media: str, encoding: str) -> None:
        def decode(body: bytes) -> Decoded:
            plain = unpack(body, encoding, self._max_bytes)
            return decode_json(plain) if media == JSON else decode_protobuf(plain)

        try:
            with self._intake.room() as room:
                body = await exchange.body(self._max_bytes, room.grow)
                taken = await self._intake.take(body, decode)
        except TooLargeError as error:
            status, code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, code_pb2.INVALID_ARGUMENT
            await _fail(exchange, media, status, code, str(error))
        except BadRequestError as error:
            status, code = HTTPStatus.BAD_REQUEST, code_pb2.INVALID_ARGUMENT
            await _fail(exchange, media, status, code, str(error))
        except (BusyError, StoreError) as error:
            status, code = HTTPStatus.SERVICE_UNAVAILABLE, code_pb2.UNAVAILABLE
            await _fail(exchange, media, status, code, str(error), _RETRY_AFTER)
        else:
            response = ExportTraceServiceResponse()
            if taken.rejected:
                response.partial_success.rejected_spans = taken.rejected
                response.partial_success.error_message = taken.reason
            await _answer(exchange, media, HTTPStatus.OK, response)


async def _fail(
    exchange: Exchange,
    media: str,
    status: int,
    code: int,
    words: str,
    headers: Mapping[str, str] | None = None,
) -> None:
    await _answer(exchange, media, status, Status(code=code, message=words), headers)


async def _answer(
    exchange: Exchange,
    media: str,
    status: int,
    message: Message,
    headers: Mapping[str, str] | None = None,
) -> None:
    if media == PROTOBUF:
        await exchange.answer(status, message.SerializeToString(), PROTOBUF, headers)
    else:
        text = json_format.MessageToJson(message, indent=None)
        await exchange.answer(status, text.encode(), JSON, headers)
