"""What `mcp.request` says of a client, of its answers to a server's questions, and of ours to it.

Pure. Above lies `request_span`. Names are those that TRACING of the first system had, so that its
dashboards carry over. Values that a client chooses are cut; nothing of what a user typed is told.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeAlias, cast

from opentelemetry.util.types import AttributeValue

from linkspan_contract.envelope import JsonObject, Response

Attributes: TypeAlias = Mapping[str, AttributeValue]

_MAX_VALUE_CHARS: Final = 256
_MAX_CAPABILITIES: Final = 32
_INFO_KEYS: Final = ("name", "version", "title")
_ACTIONS: Final = frozenset({"accept", "decline", "cancel"})
"""Source: https://modelcontextprotocol.io/specification/2025-11-25/client/elicitation#response-actions"""

_MODERN_INFO: Final = "io.modelcontextprotocol/clientInfo"
"""The key of `_meta` in which each request of MCP 2026-07-28 says who its client is."""


@lru_cache(64)
def response_attributes(status: int, content_type: str) -> Attributes:
    """Return what is said of an HTTP response; the same mapping for equal responses.

    Args:
        status: The HTTP status.
        content_type: What kind of body it has; empty for none.
    """
    attributes: dict[str, AttributeValue] = {
        "http.response.status_code": int(status),  # of `HTTPStatus`, a span would have to ask
        "mcp.response.status_code": int(status),
    }
    if content_type:
        attributes["mcp.response.content_type"] = content_type
    return attributes


def client_attributes(params: JsonObject) -> Attributes:
    """Return what a client says of itself in `initialize`.

    Args:
        params: The parameters of the request, of any shape.
    """
    attributes = _info_attributes(params.get("clientInfo"))
    version: object = params.get("protocolVersion")
    if isinstance(version, str):
        attributes["mcp.client.protocol_version"] = version[:_MAX_VALUE_CHARS]
    capabilities: object = params.get("capabilities")
    if isinstance(capabilities, dict):
        keys = sorted(cast("JsonObject", capabilities))[:_MAX_CAPABILITIES]
        attributes["mcp.client.capability.keys"] = [key[:_MAX_VALUE_CHARS] for key in keys]
    return attributes


def modern_client_attributes(meta: object) -> Attributes:
    """Return what a client of MCP 2026-07-28 says of itself in each request.

    Args:
        meta: The `_meta` of the request's parameters, of any shape.
    """
    if not isinstance(meta, dict):
        return {}
    return _info_attributes(cast("JsonObject", meta).get(_MODERN_INFO))


def answer_attributes(answer: Response) -> Attributes:
    """Return what is said of a client's answer to a question: what its user chose, if anything."""
    action: object = None if answer.result is None else answer.result.get("action")
    if isinstance(action, str) and action in _ACTIONS:
        return {"mcp.elicitation.action": action}
    return {}


def _info_attributes(info: object) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {}
    if isinstance(info, dict):
        for key in _INFO_KEYS:
            value: object = cast("JsonObject", info).get(key)
            if isinstance(value, str):
                attributes[f"mcp.client.{key}"] = value[:_MAX_VALUE_CHARS]
    return attributes
