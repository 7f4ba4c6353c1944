"""Logs: one line an event on standard error, with the trace it belongs to.

Standard output stays free for the ready line and for whatever the hosted server prints.
"""

import logging
import sys

from opentelemetry.trace import get_current_span


class _TraceFilter(logging.Filter):
    """Adds `trace` to each record: the current trace id in hex, or `-`."""

    def filter(self, record: logging.LogRecord) -> bool:
        context = get_current_span().get_span_context()
        record.trace = f"{context.trace_id:032x}" if context.is_valid else "-"
        return True


def set_up_logs(level: str) -> None:
    """Send the logs of this process to standard error.

    Args:
        level: `debug`, `info`, `warning` or `error`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_TraceFilter())
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(name)s trace=%(trace)s %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # The SDK's own "handler raised" lines and ours say the same; theirs stay, uvicorn's noise goes.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("grpc").setLevel(
        max(logging.INFO, root.level)
    )  # it tells of every loop it sees
