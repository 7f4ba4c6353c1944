"""What a request does that may have begun before: the worker has not seen how that ended.

Pure. A request runs twice only if that is known to do no harm.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, cast

from linkspan_session.store import StreamRecord

HARMLESS_METHODS: Final = frozenset(
    {
        "completion/complete",
        "initialize",
        "logging/setLevel",
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "resources/templates/list",
        "resources/unsubscribe",
        "server/discover",
        "subscriptions/listen",
        "tasks/cancel",
        "tasks/get",
        "tools/list",
    }
)
"""The methods that only read, or that set what they set already (MCP 2024-11-05 to 2026-07-28)."""

HARMLESS_NOTIFICATIONS: Final = frozenset(
    {
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/progress",
        "notifications/roots/list_changed",
    }
)
"""The notifications of the protocol, which say what is so and may be said twice."""

TOOL_METHOD: Final = "tools/call"


class Again(Enum):
    """What to do with a request that came before."""

    JOIN = auto()
    """It runs here: let the caller read on."""
    REPLAY = auto()
    """Its answer is on record: return it."""
    RUN = auto()
    """Run it, if it is harmless; else say that nobody knows what became of it."""


def decide(*, running_here: bool, on_record: StreamRecord | None) -> Again:
    """Decide about a request that may have begun before.

    Args:
        running_here: Whether it runs in this process.
        on_record: Its stream, if there is one on record.
    """
    if running_here:
        return Again.JOIN
    if on_record is not None and on_record.finished:
        return Again.REPLAY
    return Again.RUN


def is_harmless_tool(tool: Mapping[str, object]) -> bool:
    """Tell whether a tool, as `tools/list` describes it, may run twice.

    Source: https://modelcontextprotocol.io/specification/2025-11-25/schema#toolannotations
    """
    annotations: object = tool.get("annotations")
    if not isinstance(annotations, dict):
        return False
    hints = cast("dict[str, object]", annotations)
    return hints.get("readOnlyHint") is True or hints.get("idempotentHint") is True
