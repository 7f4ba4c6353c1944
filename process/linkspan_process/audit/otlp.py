"""The audit trail over OTLP: events as log records with an event name, where logs go, too.

Above lies `trail`; below lies `log_queue`, one apart from that of logs, so that a process that logs
much loses no event for it.

Source: https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-eventname.
"""

from collections.abc import Mapping
from typing import Final

from opentelemetry import context as contexts

from linkspan_process.audit.events import AuditEvent, attributes_of
from linkspan_process.errors import StartError
from linkspan_process.log_queue import LogQueue
from linkspan_process.signals import SignalSettings

_SCOPE: Final = "linkspan.audit"


class OtlpTrail:
    """Takes events and sends them to where OTLP logs go."""

    def __init__(self, service: str, environ: Mapping[str, str]) -> None:
        """Begin to send.

        Args:
            service: `service.name`, unless the environment names another.
            environ: The environment.

        Raises:
            StartError: It does not say that logs go over OTLP, or not how.
        """
        settings = SignalSettings.from_env("LOGS", environ)
        if not settings.otlp:
            raise StartError("--audit-otlp goes where logs go: set OTEL_LOGS_EXPORTER=otlp as well")
        self._queue = LogQueue(service, environ, settings)

    @property
    def lost(self) -> int:
        """How many events were lost so far."""
        return sum(self._queue.losses().values())

    def put(self, event: AuditEvent) -> None:
        """Take an event; never waits, never raises."""
        from opentelemetry._logs import LogRecord, SeverityNumber  # noqa: PLC0415 - heavy

        if not self._queue.has_room():
            return
        try:
            record = LogRecord(
                timestamp=event.time_nanos,
                observed_timestamp=event.time_nanos,
                context=contexts.get_current(),  # the trace of the event, which is told just now
                severity_number=SeverityNumber.INFO,
                event_name=event.name,
                attributes=attributes_of(event),
            )
            self._queue.add(record, _SCOPE)
        except Exception:  # noqa: BLE001 - what happened must not fail for its being told
            self._queue.count("encoding_failed", 1)

    def close(self, timeout_seconds: float) -> None:
        """Send what is left, in at most about this time; blocks."""
        self._queue.shut_down(timeout_seconds)
