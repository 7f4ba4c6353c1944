"""What MCP 2026-07-28 asks of a message before anybody serves it: the ladder that it climbs.

Pure. Above lies `admission`, which knows when it is climbed. Every rung says the same as that of the
MCP SDK's servers, word for word, since clients fall back by what it says; the SDK itself is not
imported, for it takes longer to load than all of the worker. tests/unit/worker/test_modern.py holds
the two equal.

Sources: https://modelcontextprotocol.io/specification/2026-07-28/basic for `_meta` and the codes,
https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http for the
headers and the statuses.
"""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, cast

from linkspan_contract.envelope import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    JsonObject,
    Request,
)
from linkspan_contract.versions import MODERN_VERSIONS
from linkspan_worker.failures import Refusal
from linkspan_worker.headers import Headers
from linkspan_worker.mcp_headers import (
    METHOD_HEADER,
    NAME_HEADER,
    VERSION_HEADER,
    decode_header_value,
    duplicated_routing_header,
)

HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022

STATUS_BY_CODE: Final[Mapping[int, int]] = MappingProxyType(
    {
        PARSE_ERROR: HTTPStatus.BAD_REQUEST,
        INVALID_REQUEST: HTTPStatus.BAD_REQUEST,
        INVALID_PARAMS: HTTPStatus.BAD_REQUEST,
        HEADER_MISMATCH: HTTPStatus.BAD_REQUEST,
        MISSING_CAPABILITY: HTTPStatus.BAD_REQUEST,
        UNSUPPORTED_VERSION: HTTPStatus.BAD_REQUEST,
        METHOD_NOT_FOUND: HTTPStatus.NOT_FOUND,
    }
)
"""The HTTP status of an error by its code, whoever found it; a code that is not here has none."""

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"

_REQUIRED_KEYS: Final = (VERSION_KEY, CAPABILITIES_KEY)

NAMED_BY: Final[Mapping[str, str]] = MappingProxyType(
    {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
)
"""For methods that act on a named thing: the parameter that `Mcp-Name` repeats."""

_TASK_METHODS: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
"""Requests whose `Mcp-Name` header names their task (SEP-2663, "Streamable HTTP: Routing Headers")."""


def refuse_routing(headers: Headers) -> Refusal | None:
    """Refuse a message of which a routing header came more than once; None if none did."""
    duplicated = duplicated_routing_header(headers)
    return None if duplicated is None else _mismatch(f"{duplicated} came more than once")


def refuse_version(headers: Headers) -> Refusal | None:
    """Refuse the version that the headers name, and say which there are; None if it is served."""
    return _refuse_version(headers.get(VERSION_HEADER) or "")


def refuse_request(request: Request, headers: Headers) -> Refusal | None:
    """Climb the ladder with a request: its envelope, its headers against its body, its version.

    A client that contradicts itself is told so before it is told that its version is not served.
    Whether there is such a method, and what its parameters are, the hosted server says.

    Returns:
        What is said of the first rung that does not hold; None if all do.
    """
    params: JsonObject = request.params or {}
    meta: object = params.get("_meta")
    if not isinstance(meta, dict):
        return _refusal(
            INVALID_PARAMS,
            "params._meta must be an object carrying the required "
            f"{VERSION_KEY!r} and {CAPABILITIES_KEY!r} envelope keys",
        )
    envelope = cast("JsonObject", meta)
    if missing := [key for key in _REQUIRED_KEYS if key not in envelope]:
        return _refusal(
            INVALID_PARAMS,
            f"params._meta is missing the required envelope key(s): {', '.join(missing)}",
        )
    version = headers.get(VERSION_HEADER)
    if version is None or version != envelope[VERSION_KEY]:
        return _mismatch(
            f"{VERSION_HEADER} header does not match the request envelope's protocol version"
        )
    if headers.get(METHOD_HEADER) != request.method:
        return _mismatch(f"{METHOD_HEADER} header does not match the request body's method")
    named_by = NAMED_BY.get(request.method)
    if named_by is not None and not _names(headers, params.get(named_by)):
        return _mismatch(
            f"{NAME_HEADER} header does not match the request body's {named_by!r} parameter"
        )
    if (unsupported := _refuse_version(version)) is not None:
        return unsupported
    if request.method in _TASK_METHODS and not _names(headers, params.get("taskId")):
        return _mismatch(f"{NAME_HEADER} header does not match the request body's 'taskId'")
    return None


def _names(headers: Headers, value: Any) -> bool:
    """Tell whether `Mcp-Name` is that value; a parameter that is missing is for the method to miss."""
    return value is None or decode_header_value(headers.get(NAME_HEADER)) == value


def _refuse_version(version: str) -> Refusal | None:
    if version in MODERN_VERSIONS:
        return None
    return _refusal(
        UNSUPPORTED_VERSION,
        "Unsupported protocol version",
        {"supported": list(MODERN_VERSIONS), "requested": version},
    )


def _mismatch(message: str) -> Refusal:
    return _refusal(HEADER_MISMATCH, message)


def _refusal(code: int, message: str, data: object | None = None) -> Refusal:
    return Refusal(STATUS_BY_CODE[code], code, message, str(code), data=data)
