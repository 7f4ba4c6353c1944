"""Logs: one line an event on standard error, for people or as JSON, with the trace it belongs to.

Standard output stays free for the ready line and for whatever the hosted server prints. Each line
says, where there is one: trace and span, and what the service adds, such as session and method.
Secrets are nobody's to log: a session is named by its digest, and no header is logged. What callers
said can be part of a line, and cannot begin one, nor tell a terminal anything: line ends and control
characters are written out.
"""

import json
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from opentelemetry.trace import get_current_span

from linkspan_process.library_logs import quiet_libraries, shown_text

LogFields: TypeAlias = Callable[[], Mapping[str, str]]
"""Returns what a service adds to a line; called only for a line that is written."""

_TEXT: Final = "%(asctime)s %(levelname)-7s %(name)s %(about)s%(message)s"


class AboutFilter(logging.Filter):
    """Adds to each record what it is about: `trace_id`, `span_id`, and what the service adds."""

    def __init__(self, fields: LogFields) -> None:
        super().__init__()
        self._fields = fields

    def filter(self, record: logging.LogRecord) -> bool:
        """Add to a record, which is logged in any case."""
        if not hasattr(record, "linkspan_fields"):
            record.linkspan_fields = fields_of(self._fields)
        return True


def fields_of(more: LogFields) -> dict[str, str]:
    """Return what a line that is logged now is about."""
    context = get_current_span().get_span_context()
    fields: dict[str, str] = {}
    if context.is_valid:
        fields["trace_id"] = f"{context.trace_id:032x}"
        fields["span_id"] = f"{context.span_id:016x}"
    fields.update(more())
    return fields


class _TextFormatter(logging.Formatter):
    """For people."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def format(self, record: logging.LogRecord) -> str:
        return shown_text(record.name, super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its name
        fields: Mapping[str, str] = getattr(record, "linkspan_fields", {})
        # Whoever looks for lines without a trace finds a dash.
        shown = fields if "trace_id" in fields else {"trace_id": "-", **fields}
        record.about = "".join(
            f"{name.removesuffix('_id')}={_one_word(value)} " for name, value in shown.items()
        )
        record.message = written_out(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - its name
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - its name
        return _indented(super().formatStack(stack_info))


class _JsonFormatter(logging.Formatter):
    """For programs: one object a line; `exception` holds a stack trace."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": shown_text(record.name, record.getMessage()),
            **getattr(record, "linkspan_fields", {}),
        }
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line["exception"] = shown_text(record.name, trace)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, ensure_ascii=True, default=str)


def set_up_logs(level: str, form: str = "auto", fields: LogFields = dict) -> None:
    """Send the logs of this process to standard error.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `text`, `json`, or `auto` for text where standard error is a terminal, else JSON.
        fields: What the service adds to each line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(AboutFilter(fields))
    as_text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler.setFormatter(_TextFormatter() if as_text else _JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # The SDK's own "handler raised" lines and ours say the same; theirs stay, uvicorn's noise goes.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    quiet_libraries(root.level)
    logging.getLogger("grpc").setLevel(
        max(logging.INFO, root.level)
    )  # it tells of every loop it sees


def written_out(text: str) -> str:
    """Return a text as one line that a terminal shows as it is: the rest is written as in Python."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _indented(text: str) -> str:
    """Return lines none of which can be taken for one that was logged."""
    return "\n".join(f"  {written_out(line)}" for line in text.split("\n"))


def _one_word(value: str) -> str:
    """Show a value that a caller may have chosen so that it is no more than a value."""
    return value if value.isprintable() and " " not in value else json.dumps(value)
