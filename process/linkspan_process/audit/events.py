"""The events of the audit trail and their fields, each declared once, and how one is written.

Pure. docs/audit.md is held equal to the two tables. Invariants: an event is one line of printable
ASCII, whatever callers put into their names; no field is longer than its bound.

Source of the attribute names that are not ours: https://opentelemetry.io/docs/specs/semconv/.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

Fields: TypeAlias = Mapping[str, str | int]
"""What an event says, by the names of `FIELDS`."""

_NAME_CHARS: Final = 256
_IDENTITY_CHARS: Final = 2048
_MAX_INT: Final = 2**63 - 1
"""What OTLP can carry; what has thousands of digits could not be written to a file, either."""

CONTENT_CHARS: Final = 4096
"""The longest excerpt of arguments or a result, in characters."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field as it is declared.

    Attributes:
        attribute: What it is called over OTLP.
        meaning: What it says.
        max_chars: Where its text is cut.
    """

    attribute: str
    meaning: str
    max_chars: int = _NAME_CHARS


FIELDS: Final[Mapping[str, Field]] = MappingProxyType(
    {
        "actor": Field(
            "linkspan.audit.actor",
            "Who did it: `client`, `operator` (who reaches a session server directly), `peer` (who was "
            "refused there by its certificate or address alone), or `server`",
        ),
        "issuer": Field(
            "linkspan.principal.issuer",
            "Who vouches for the subject; empty for the anonymous principal",
            _IDENTITY_CHARS,
        ),
        "subject": Field(
            "user.id",
            "The principal that it was done for, or whose session it was done to",
            _IDENTITY_CHARS,
        ),
        "resource": Field(
            "linkspan.principal.resource", "What it was admitted to (RFC 8707)", _IDENTITY_CHARS
        ),
        "client_id": Field(
            "linkspan.principal.client_id",
            "The OAuth client that its token was issued to, if the token says so",
            _IDENTITY_CHARS,
        ),
        "client_address": Field(
            "client.address",
            "Who sent it, as trusted proxies say; of an operator or peer, the other end of the "
            "connection; `unix` for a socket",
        ),
        "peer_name": Field(
            "linkspan.peer.name",
            "What the certificate of an operator or peer calls it: its first alternative name, else "
            "its common name",
        ),
        "session": Field("mcp.session.id", "The digest of the session's id, as in spans and logs"),
        "method": Field("mcp.method.name", "The method of MCP, or the RPC of an operator"),
        "request_id": Field("jsonrpc.request.id", "The id that the client gave the request"),
        "tool": Field("gen_ai.tool.name", "The tool that was called"),
        "target": Field("linkspan.audit.target", "The prompt or resource that was asked for"),
        "task": Field("linkspan.task.id", "The digest of the task's id"),
        "outcome": Field("linkspan.audit.outcome", "How it ended; see below"),
        "reason": Field("linkspan.audit.reason", "Why a session ended, or why a try was refused"),
        "code": Field("rpc.response.status_code", "The code of the JSON-RPC error"),
        "status": Field("http.response.status_code", "The HTTP status of a refusal of the worker"),
        "arguments": Field(
            "gen_ai.tool.call.arguments",
            "An excerpt of the arguments; with `--audit-content` only",
            CONTENT_CHARS,
        ),
        "result": Field(
            "gen_ai.tool.call.result",
            "An excerpt of the result; with `--audit-content` only",
            CONTENT_CHARS,
        ),
        "pid": Field("process.pid", "The process that begins or ends its trail"),
        "count": Field("linkspan.audit.count", "How many events were lost, or left out"),
    }
)
"""All fields but those that every event has: `time`, `event`, `service`, `trace_id`, `span_id`."""

SESSION_CREATE: Final = "linkspan.audit.session_create"
SESSION_END: Final = "linkspan.audit.session_end"
LISTEN: Final = "linkspan.audit.listen"
TOOL_CALL: Final = "linkspan.audit.tool_call"
REQUEST: Final = "linkspan.audit.request"
TASK_END: Final = "linkspan.audit.task_end"
REFUSED: Final = "linkspan.audit.refused"
OPERATE: Final = "linkspan.audit.operate"
START: Final = "linkspan.audit.start"
STOP: Final = "linkspan.audit.stop"
LOST: Final = "linkspan.audit.lost"

EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        SESSION_CREATE: "A session was created.",
        SESSION_END: "A session came to its end.",
        LISTEN: "A client began to listen to a session, or to resume a stream of it.",
        TOOL_CALL: "A tool was called, and how that ended.",
        REQUEST: "Another request was made, and how that ended.",
        TASK_END: "A task that a tool call had become came to its end.",
        REFUSED: "A try was refused.",
        OPERATE: "An operator looked at sessions, or ended one.",
        START: "A process begins its trail.",
        STOP: "A process ends its trail.",
        LOST: "Events were lost, or left out.",
    }
)


class AuditEvent(NamedTuple):
    """Something that happened.

    Attributes:
        name: One of `EVENTS`.
        time_nanos: When, in nanoseconds since the Unix epoch.
        fields: What is known of it.
        trace_id: Its trace; 0 for none.
        span_id: The span that it happened in; 0 for none.
    """

    name: str
    time_nanos: int
    fields: Fields
    trace_id: int = 0
    span_id: int = 0


def bounded(fields: Fields) -> dict[str, str | int]:
    """Return the fields that say something, texts cut to their bounds and numbers to 64 bits.

    Raises:
        KeyError: A field is not declared.
    """
    return {
        name: max(-_MAX_INT, min(value, _MAX_INT))
        if isinstance(value, int)
        else value[: FIELDS[name].max_chars]
        for name, value in fields.items()
        if value != ""
    }


def line_of(event: AuditEvent, service: str) -> bytes:
    """Write an event as one line of JSON, its end included.

    `json` escapes all that is not printable ASCII, DEL included: what could end the line, or move a
    terminal's cursor.
    """
    moment = datetime.fromtimestamp(event.time_nanos / 1e9, UTC)
    line: dict[str, str | int] = {
        "time": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "event": event.name,
        "service": service,
    }
    if event.trace_id:
        line["trace_id"] = f"{event.trace_id:032x}"
        line["span_id"] = f"{event.span_id:016x}"
    line.update(event.fields)
    text = json.dumps(line, ensure_ascii=True)
    return text.encode("ascii") + b"\n"


def attributes_of(event: AuditEvent) -> dict[str, str | int]:
    """Return an event's fields under the names that they have over OTLP, as UTF-8 can carry them."""
    return {
        FIELDS[name].attribute: value if isinstance(value, int) else _writable(value)
        for name, value in event.fields.items()
    }


def _writable(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can carry and protobuf cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
