"""Logs over OTLP, where they are asked for by `OTEL_LOGS_EXPORTER=otlp`, beside standard error.

Owns the handler that turns lines into records. Above lie the services; below lies `log_queue`, which
sends them.

Invariants: to log never waits for a receiver; what the exporters themselves log is not sent, or it
would never end.

Source: https://opentelemetry.io/docs/specs/otel/logs/data-model/.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as contexts
from opentelemetry import metrics

from linkspan_process.library_logs import shown_text
from linkspan_process.log_queue import LogQueue
from linkspan_process.logs import LogFields, fields_of
from linkspan_process.metrics.catalog import observe
from linkspan_process.metrics.of_telemetry import DROPPED_LOGS
from linkspan_process.signals import SignalSettings

if TYPE_CHECKING:
    from opentelemetry._logs import LogRecord, SeverityNumber

_SHUTDOWN_SECONDS: Final = 1.5
_OWN_TROUBLES: Final = ("opentelemetry.", "grpc.", "urllib3.", "linkspan_tracing.")
"""What tells of trouble with receivers: sent to them, it would make more of it."""


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
    queue = LogQueue(service_name, environ, settings)
    observe(
        metrics.get_meter("linkspan.process"),
        DROPPED_LOGS,
        lambda: [(lost, {"reason": reason}) for reason, lost in queue.losses().items()],
    )
    handler = _OtlpHandler(queue, fields)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        await asyncio.to_thread(queue.shut_down, _SHUTDOWN_SECONDS)


class _OtlpHandler(logging.Handler):
    """Takes what is logged, and has it sent."""

    def __init__(self, queue: LogQueue, fields: LogFields) -> None:
        super().__init__()
        self._queue = queue
        self._fields = fields

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`; never waits, never raises."""
        if record.name.startswith(_OWN_TROUBLES) or self._queue.is_mine:
            return
        if not self._queue.has_room():
            return
        try:
            self._queue.add(self._read(record), record.name)
        except Exception:  # noqa: BLE001 - to say so would be to log again
            self._queue.count("encoding_failed", 1)

    def _read(self, record: logging.LogRecord) -> "LogRecord":
        from opentelemetry._logs import LogRecord  # noqa: PLC0415

        fields = fields_of(self._fields)
        attributes: dict[str, Any] = {}
        if "session" in fields:
            attributes["mcp.session.id"] = fields["session"]
        if "method" in fields:
            attributes["mcp.method.name"] = fields["method"]
        if record.exc_info and record.exc_info[0] is not None:
            attributes["exception.type"] = record.exc_info[0].__qualname__
            trace = logging.Formatter().formatException(record.exc_info)
            attributes["exception.message"] = shown_text(record.name, str(record.exc_info[1]))
            attributes["exception.stacktrace"] = shown_text(record.name, trace)
        return LogRecord(
            timestamp=int(record.created * 1e9),
            observed_timestamp=time.time_ns(),
            context=contexts.get_current(),
            severity_text=record.levelname,
            severity_number=_severity(record.levelno),
            body=shown_text(record.name, record.getMessage()),
            attributes=attributes,
        )


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
