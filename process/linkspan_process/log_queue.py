"""Log records on their way to OTLP: a bounded queue, the thread that empties it, and its end.

Above lie `log_export` (what is logged) and `audit.otlp` (what is audited), each with a queue of its
own; below lie `signals` and the exporters of OpenTelemetry's SDK.

Invariants: to add a record never waits for a receiver; one that finds no room, or that the receiver
does not take, is lost and counted.
"""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from opentelemetry import context as contexts

from linkspan_process.errors import StartError
from linkspan_process.signals import SignalSettings, resource_attributes

if TYPE_CHECKING:
    from opentelemetry._logs import LogRecord
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk._logs.export import LogRecordExporter

_QUEUE_RECORDS: Final = 2048
_BATCH_RECORDS: Final = 512
_DELAY_SECONDS: Final = 1.0

_PLAIN_KEY: Final = "suppress_instrumentation"


class LogQueue:
    """Takes records, and sends them from a thread of its own."""

    def __init__(
        self, service_name: str, environ: Mapping[str, str], settings: SignalSettings
    ) -> None:
        """Begin to send.

        Args:
            service_name: `service.name`, unless the environment names another.
            environ: The environment.
            settings: Where records go.

        Raises:
            StartError: A variable has a value that cannot be honoured.
        """
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - only if asked for

        named = {
            "service.name": service_name,
            "service.version": version("linkspan"),
            **resource_attributes(environ),
        }
        try:
            self._exporter = _exporter(settings)
        except Exception as error:
            told = " ".join(str(error).split())
            raise StartError(f"OTEL_* variables for logs cannot be used: {told}") from error
        self._resource: Resource = Resource.create(named)
        self._queue: deque[ReadableLogRecord] = deque()
        self._lost: dict[str, int] = {}
        self._counting = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log-export", daemon=True)
        self._thread.start()

    @property
    def is_mine(self) -> bool:
        """Whether the thread that asks is the one that sends."""
        return threading.current_thread() is self._thread

    def has_room(self) -> bool:
        """Tell whether another record may come; counts it as lost if not."""
        if self._closing or len(self._queue) >= _QUEUE_RECORDS:
            self.count("shutdown" if self._closing else "queue_full", 1)
            return False
        return True

    def add(self, record: "LogRecord", scope: str) -> None:
        """Have a record sent; `has_room` is asked before one is made.

        Args:
            record: What to send.
            scope: The name of what says it.
        """
        from opentelemetry.sdk._logs import ReadableLogRecord  # noqa: PLC0415
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

        self._queue.append(
            ReadableLogRecord(
                log_record=record,
                resource=self._resource,
                instrumentation_scope=InstrumentationScope(scope),
            )
        )
        if len(self._queue) >= _BATCH_RECORDS:
            self._wake.set()

    def count(self, reason: str, records: int) -> None:
        """Count records that are lost."""
        with self._counting:
            self._lost[reason] = self._lost.get(reason, 0) + records

    def losses(self) -> dict[str, int]:
        """Return how many were lost, by reason."""
        with self._counting:
            return dict(self._lost)

    def shut_down(self, timeout_seconds: float) -> None:
        """Send what is left, in at most about this time; blocks."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_seconds)
        if self._queue:
            self.count("shutdown", len(self._queue))
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # the SDK's has no types

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
            self.count("export_failed", len(batch))


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
