"""The audit trail of a process: where its events go, opened before it serves and closed after.

Above lie the services; below lie `file` and `otlp`. Invariants: to tell an event never waits and
never fails; a stranger cannot choose how fast the trail grows.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from opentelemetry import metrics, trace

from linkspan_process.audit.events import (
    LOST,
    REFUSED,
    START,
    STOP,
    AuditEvent,
    Fields,
    bounded,
)
from linkspan_process.audit.file import AuditFile
from linkspan_process.errors import StartError
from linkspan_process.metrics.catalog import observe
from linkspan_process.metrics.of_telemetry import LOST_AUDIT_EVENTS
from linkspan_process.signals import resource_attributes

logger = logging.getLogger(__name__)

REFUSALS_A_SECOND: Final = 100
"""How many refusals a second a process tells of; as many as in ten seconds at once."""

_BURST_SECONDS: Final = 10
_CLOSE_SECONDS: Final = 2.0


class Sink(Protocol):
    """Where events go."""

    @property
    def lost(self) -> int:
        """How many events were lost so far; for any thread."""
        ...

    def put(self, event: AuditEvent) -> None:
        """Take an event; never waits, never raises."""
        ...

    def close(self, timeout_seconds: float) -> None:
        """Get rid of what is left, in at most about this time; blocks."""
        ...


class Trail:
    """Tells all sinks of a process what happened. For the event loop's thread alone."""

    def __init__(self, sinks: Mapping[str, Sink]) -> None:
        """Make a trail.

        Args:
            sinks: Where events go, by the name that metrics give each.
        """
        self._sinks = dict(sinks)
        self._refusals = float(REFUSALS_A_SECOND * _BURST_SECONDS)
        self._refilled_at = time.monotonic()
        self._left_out = 0
        self._all_left_out = 0

    def tell(self, name: str, fields: Fields) -> None:
        """Say that something happened, in the trace of the current span.

        Args:
            name: One of `EVENTS`.
            fields: What is known of it, by the names of `FIELDS`; what is empty is left out.
        """
        if name == REFUSED and not self._has_room():
            return
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            self._put(LOST, {"actor": "server", "reason": "too_many_refusals", "count": left_out})
        self._put(name, fields)

    def losses(self) -> list[tuple[int, dict[str, str]]]:
        """Return how many events were lost, by where they did not get to; for any thread."""
        lost = [(sink.lost, {"sink": name}) for name, sink in self._sinks.items()]
        return [*lost, (self._all_left_out, {"sink": "none"})]

    def close(self) -> None:
        """Get rid of what is left; blocks for a few seconds at most."""
        for sink in self._sinks.values():
            sink.close(_CLOSE_SECONDS)

    def _put(self, name: str, fields: Fields) -> None:
        context = trace.get_current_span().get_span_context()
        event = AuditEvent(name, time.time_ns(), bounded(fields), context.trace_id, context.span_id)
        for sink in self._sinks.values():
            sink.put(event)

    def _has_room(self) -> bool:
        """Take one from what refusals there may be now; those that are left out are counted."""
        now = time.monotonic()
        more = (now - self._refilled_at) * REFUSALS_A_SECOND
        self._refusals = min(self._refusals + more, REFUSALS_A_SECOND * _BURST_SECONDS)
        self._refilled_at = now
        if self._refusals < 1:
            self._left_out += 1
            self._all_left_out += 1
            return False
        self._refusals -= 1
        return True


@asynccontextmanager
async def audited(
    service: str, environ: Mapping[str, str], *, path: Path | None, otlp: bool
) -> AsyncGenerator[Trail | None]:
    """Keep an audit trail until the block is left.

    Args:
        service: `service.name`, unless the environment names another.
        environ: The environment, for the standard `OTEL_*` variables.
        path: The file it goes to; None for none. SIGHUP has it looked at anew.
        otlp: Whether it goes to where OTLP logs go.

    Yields:
        The trail; None if it would go nowhere.

    Raises:
        StartError: The file cannot be written, or there is no place for logs.
    """
    sinks: dict[str, Sink] = {}
    loop = asyncio.get_running_loop()
    if path is not None:
        try:
            named = resource_attributes(environ).get("service.name", service)
            sinks["file"] = file = AuditFile(path, named)
        except OSError as error:
            told = error.strerror or error
            raise StartError(f"--audit-file {path} cannot be written: {told}") from None
        loop.add_signal_handler(signal.SIGHUP, file.reopen)
    if otlp:
        from linkspan_process.audit.otlp import OtlpTrail  # noqa: PLC0415 - heavy, seldom used

        sinks["otlp"] = OtlpTrail(service, environ)
    if not sinks:
        yield None
        return
    trail = Trail(sinks)
    observe(metrics.get_meter("linkspan.process"), LOST_AUDIT_EVENTS, trail.losses)
    about: Fields = {"actor": "server", "pid": os.getpid()}
    trail.tell(START, about)
    try:
        yield trail
    finally:
        trail.tell(STOP, about)
        await asyncio.to_thread(trail.close)
        if path is not None:
            loop.remove_signal_handler(signal.SIGHUP)
