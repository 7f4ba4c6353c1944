"""Logs over OTLP, where they are asked for by `OTEL_LOGS_EXPORTER=otlp`, beside standard error.

Owns the handler that turns lines into records, a bounded queue, the thread that empties it, and its
end. Above lie the services; below lie `signals` and the exporters of OpenTelemetry's SDK.

Invariants: to log never waits for a receiver; a record that finds no room, or that the receiver does
not take, is lost and counted; what the exporters themselves log is not sent, or it would never end.

Source: https://opentelemetry.io/docs/specs/otel/logs/data-model/.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as contexts
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from linkspan_process.errors import StartError
from linkspan_process.logs import LogFields, fields_of
from linkspan_process.metrics.of_telemetry import DROPPED_LOGS
from linkspan_process.signals import SignalSettings, resource_attributes

if TYPE_CHECKING:
    from opentelemetry._logs import SeverityNumber
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.resources import Resource

_QUEUE_RECORDS: Final = 2048
_BATCH_RECORDS: Final = 512
_DELAY_SECONDS: Final = 1.0
_SHUTDOWN_SECONDS: Final = 1.5
_OWN_TROUBLES: Final = ("opentelemetry.", "grpc.", "urllib3.", "linkspan_tracing.")
"""What tells of trouble with receivers: sent to them, it would make more of it."""

_PLAIN_KEY: Final = "suppress_instrumentation"


@asynccontextmanager
async def exported_logs(
    service_name: str, environ: Mapping[str, str], fields: LogFields
) -> AsyncGenerator[None]:
    """Have logs sent over OTLP until the block is left, if that is asked for.

    Args:
        service_name: `service.name`, unless the environment names another.
        environ: The environment.
        fields: What the service adds to each record.

    Raises:
        StartError: A variable has a value that cannot be honoured.
    """
    settings = SignalSettings.from_env("LOGS", environ)
    if not settings.otlp:
        yield
        return
    handler = _make(service_name, environ, settings, fields)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        await asyncio.to_thread(handler.shut_down, _SHUTDOWN_SECONDS)


def _make(
    service_name: str,
    environ: Mapping[str, str],
    settings: SignalSettings,
    fields: LogFields,
) -> "_OtlpHandler":
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - only where it is asked for

    named = {
        "service.name": service_name,
        "service.version": version("linkspan"),
        **resource_attributes(environ),
    }
    try:
        exporter = _exporter(settings)
    except Exception as error:
        told = " ".join(str(error).split())
        raise StartError(f"OTEL_* variables for logs cannot be used: {told}") from error
    return _OtlpHandler(exporter, Resource.create(named), fields)


def _exporter(settings: SignalSettings) -> "LogRecordExporter":
    if settings.protocol == "grpc":
        import grpc  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as over_grpc  # noqa: PLC0415

        return over_grpc.OTLPLogExporter(
            endpoint=settings.endpoint,
            compression=grpc.Compression.Gzip if settings.gzips else grpc.Compression.NoCompression,
        )
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http import _log_exporter as over_http  # noqa: PLC0415

    return over_http.OTLPLogExporter(
        endpoint=settings.endpoint,
        compression=Compression.Gzip if settings.gzips else Compression.NoCompression,
    )


class _OtlpHandler(logging.Handler):
    """Takes what is logged, and sends it from a thread of its own."""

    def __init__(
        self, exporter: "LogRecordExporter", resource: "Resource", fields: LogFields
    ) -> None:
        super().__init__()
        self._exporter = exporter
        self._resource = resource
        self._fields = fields
        self._queue: deque[ReadableLogRecord] = deque()
        self._lost: dict[str, int] = {}
        self._counting = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log-export", daemon=True)
        self._thread.start()
        metrics.get_meter("linkspan.process").create_observable_counter(
            DROPPED_LOGS.name,
            callbacks=[self._observe],
            unit=DROPPED_LOGS.unit,
            description=DROPPED_LOGS.meaning,
        )

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`; never waits, never raises."""
        if record.name.startswith(_OWN_TROUBLES) or threading.current_thread() is self._thread:
            return
        if self._closing or len(self._queue) >= _QUEUE_RECORDS:
            self._count("shutdown" if self._closing else "queue_full", 1)
            return
        try:
            self._queue.append(self._read(record))
        except Exception:  # noqa: BLE001 - to say so would be to log again
            self._count("encoding_failed", 1)
            return
        if len(self._queue) >= _BATCH_RECORDS:
            self._wake.set()

    def shut_down(self, timeout_seconds: float) -> None:
        """Send what is left, in at most about this time; blocks."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_seconds)
        if self._queue:
            self._count("shutdown", len(self._queue))
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # the SDK's has no types

    def _read(self, record: logging.LogRecord) -> "ReadableLogRecord":
        from opentelemetry._logs import LogRecord  # noqa: PLC0415
        from opentelemetry.sdk._logs import ReadableLogRecord  # noqa: PLC0415
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

        fields = fields_of(self._fields)
        attributes: dict[str, Any] = {}
        if "session" in fields:
            attributes["mcp.session.id"] = fields["session"]
        if "method" in fields:
            attributes["mcp.method.name"] = fields["method"]
        if record.exc_info and record.exc_info[0] is not None:
            attributes["exception.type"] = record.exc_info[0].__qualname__
            attributes["exception.message"] = str(record.exc_info[1])
            attributes["exception.stacktrace"] = logging.Formatter().formatException(
                record.exc_info
            )
        said = LogRecord(
            timestamp=int(record.created * 1e9),
            observed_timestamp=time.time_ns(),
            context=contexts.get_current(),
            severity_text=record.levelname,
            severity_number=_severity(record.levelno),
            body=record.getMessage(),
            attributes=attributes,
        )
        return ReadableLogRecord(
            log_record=said,
            resource=self._resource,
            instrumentation_scope=InstrumentationScope(record.name),
        )

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        contexts.attach(contexts.set_value(_PLAIN_KEY, True))
        while not self._closing:
            self._wake.wait(_DELAY_SECONDS)
            self._wake.clear()
            while self._queue:
                batch = [
                    self._queue.popleft() for _ in range(min(len(self._queue), _BATCH_RECORDS))
                ]
                self._send(batch)

    def _send(self, batch: "Sequence[ReadableLogRecord]") -> None:
        from opentelemetry.sdk._logs.export import LogRecordExportResult  # noqa: PLC0415

        try:
            taken = self._exporter.export(batch) is LogRecordExportResult.SUCCESS
        except Exception:  # noqa: BLE001 - without this thread all records would be lost
            taken = False
        if not taken:
            self._count("export_failed", len(batch))

    def _count(self, reason: str, records: int) -> None:
        with self._counting:
            self._lost[reason] = self._lost.get(reason, 0) + records

    def _observe(self, options: CallbackOptions) -> Iterable[Observation]:
        del options
        with self._counting:
            return [Observation(lost, {"reason": reason}) for reason, lost in self._lost.items()]


def _severity(level: int) -> "SeverityNumber":
    """Return the severity of a level.

    Source: https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber
    """
    from opentelemetry._logs import SeverityNumber  # noqa: PLC0415

    for floor, severity in (
        (logging.CRITICAL, SeverityNumber.FATAL),
        (logging.ERROR, SeverityNumber.ERROR),
        (logging.WARNING, SeverityNumber.WARN),
        (logging.INFO, SeverityNumber.INFO),
        (logging.DEBUG, SeverityNumber.DEBUG),
    ):
        if level >= floor:
            return severity
    return SeverityNumber.TRACE
