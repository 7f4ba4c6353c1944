"""How long the hosted server takes for each request and notification, if anybody asks.

Above lies `kernel.measured`, which times them where metrics are on. Invariant: attributes have few
values, whatever clients send: a method that MCP does not have is `_OTHER`, and so is a tool or prompt
that the server is not known to have. It is known to have what it has listed, and what a call of went
well.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/mcp/#metric-mcpserveroperationduration
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from opentelemetry.metrics import Histogram
from opentelemetry.util.types import AttributeValue

from linkspan_contract.envelope import JsonObject
from linkspan_contract.versions import HANDSHAKE_VERSIONS, MODERN_VERSIONS
from linkspan_session.answers import Answer, Failed

OTHER: Final = "_OTHER"
"""Stands for what is not known, so that nobody can make up time series."""

_MAX_NAMES: Final = 200
"""How many tools, and how many prompts, have a time series of their own."""

_METHODS: Final = frozenset(
    {
        "completion/complete",
        "initialize",
        "logging/setLevel",
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/progress",
        "notifications/roots/list_changed",
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
        "tasks/list",
        "tasks/result",
        "tasks/update",
        "tools/call",
        "tools/list",
    }
)
"""The methods of all versions of MCP and of the tasks extension."""

_VERSIONS: Final = frozenset((*HANDSHAKE_VERSIONS, *MODERN_VERSIONS))
VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
"""Where a request of MCP 2026-07-28 says its version, in `_meta`."""

_NAMED: Final[Mapping[str, str]] = {
    "tools/call": "gen_ai.tool.name",
    "prompts/get": "gen_ai.prompt.name",
}
"""The attribute that says which one a request is for, by method."""

_LISTING: Final[Mapping[str, tuple[str, str]]] = {
    "tools/list": ("tools", "tools/call"),
    "prompts/list": ("prompts", "prompts/get"),
}
"""Where a listing has names, and what method they are names for."""


class Operations:
    """What the hosted server does.

    Attributes:
        running: How many requests and notifications it is handling.
    """

    def __init__(self, durations: Histogram) -> None:
        self.running = 0
        self._durations = durations
        self._known: dict[str, set[str]] = {method: set() for method in _NAMED}

    def record(
        self,
        started: float,
        method: str,
        params: JsonObject | None,
        version: object,
        answer: Answer | str | None,
    ) -> None:
        """Record one request or notification in the current context.

        Args:
            started: When it began, by `time.perf_counter`.
            method: Its method.
            params: Its parameters.
            version: The protocol version; whatever is none is left out.
            answer: What came of it: the answer, a word for an end without one, or None for a
                notification.
        """
        seconds = time.perf_counter() - started
        attributes: dict[str, AttributeValue] = {
            "mcp.method.name": method if method in _METHODS else OTHER
        }
        if isinstance(version, str) and version in _VERSIONS:
            attributes["mcp.protocol.version"] = version
        failed = _error_of(answer)
        key = _NAMED.get(method)
        if key is not None:
            name: object = (params or {}).get("name")
            attributes[key] = self._name(method, name, went_well=failed is None)
        elif method in _LISTING and failed is None:
            self._learn(method, answer)
        if failed is not None:
            attributes["error.type"] = failed
            if isinstance(answer, Failed):
                attributes["rpc.response.status_code"] = failed
        self._durations.record(seconds, attributes)

    def _name(self, method: str, name: object, *, went_well: bool) -> str:
        known = self._known[method]
        if not isinstance(name, str):
            return OTHER
        if name not in known:
            if not went_well or len(known) >= _MAX_NAMES:
                return OTHER
            known.add(name)
        return name

    def _learn(self, method: str, answer: Answer | str | None) -> None:
        key, named = _LISTING[method]
        listed: Any = getattr(answer, "value", {}).get(key)
        known = self._known[named]
        for each in cast("Iterable[object]", listed if isinstance(listed, list) else ()):
            name = cast("JsonObject", each).get("name") if isinstance(each, dict) else None
            if isinstance(name, str) and len(known) < _MAX_NAMES:
                known.add(name)


def _error_of(answer: Answer | str | None) -> str | None:
    """Return `error.type`; None for what went well."""
    if isinstance(answer, str):
        return answer
    if isinstance(answer, Failed):
        return str(answer.code)
    if answer is not None and answer.value.get("isError") is True:
        return "tool_error"
    return None
