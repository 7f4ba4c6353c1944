"""Which attributes mean something to lists and searches. Pure; one table a meaning.

The names are OpenTelemetry's (resource, error, MCP and GenAI conventions) and those that Linkspan's
own spans carry, see `docs/tracing.md`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from linkspan_traces.otlp.values import Plain
from linkspan_traces.session_names import digest_of

STARTS: Final = "linkspan.started.span_id"
"""On a start marker: the id, in hex, of the long operation that has begun."""

STARTED_KIND: Final = "linkspan.started.kind"
"""On a start marker: the kind of that operation's span, such as `SERVER`."""

_SESSION: Final = ("mcp.session.id", "mcp.request.session_id")
_METHOD: Final = ("mcp.method.name", "mcp.rpc.method")
_TOOL: Final = ("gen_ai.tool.name", "mcp.tool.name")
_FAILURE: Final = ("error.type", "exception.type")
_FAILED: Final = {"mcp.tool.result.is_error": "tool_error", "mcp.rpc.is_error": "rpc_error"}
_INSTANCE: Final = ("service.instance.id", "process.pid")


_MAX_CHARS: Final = 256
"""How much of a value is kept for searching."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a span's attributes say; each may be empty. `session` is a digest."""

    session: str
    method: str
    tool: str
    failure: str
    starts: str
    started_kind: str


def facts_of(attributes: Mapping[str, Plain]) -> Facts:
    """Read a span's attributes."""
    failure = _first(attributes, _FAILURE)
    for name, word in _FAILED.items():
        if not failure and attributes.get(name) is True:
            failure = word
    session = _first(attributes, _SESSION, None)
    return Facts(
        # Others write the id itself, by OpenTelemetry's conventions.
        session=digest_of(session) if session else "",
        method=_first(attributes, _METHOD),
        tool=_first(attributes, _TOOL),
        failure=failure,
        starts=_first(attributes, (STARTS,)).lower(),
        started_kind=_first(attributes, (STARTED_KIND,)),
    )


def service_of(resource: Mapping[str, Plain]) -> tuple[str, str]:
    """Read the name and the instance of a service from its resource."""
    return _first(resource, ("service.name",)), _first(resource, _INSTANCE)


def _first(
    attributes: Mapping[str, Plain], names: tuple[str, ...], chars: int | None = _MAX_CHARS
) -> str:
    for name in names:
        value = attributes.get(name)
        if value is not None and value != "":
            return str(value)[:chars]
    return ""
