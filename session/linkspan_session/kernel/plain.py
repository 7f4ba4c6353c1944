"""`tools/call` in fewer steps, where those that the SDK's runner takes beside them change nothing.

The runner validates a request's parameters twice and an answer once more on its way out, because it
cannot know that they are what they mostly are: a name and arguments; text, and what a tool's schema
describes. Here that is looked at first. Whatever is not as plain as that goes the runner's way, and
for what is, both ways give the same answer and the same span (`tests/unit/session/test_plain_calls`).

Above lies `hosted`; below lies the SDK. Source: `ServerRunner._on_request` and
`OpenTelemetryMiddleware` of mcp 2.3.
"""

import logging
from typing import Any, Final, cast

from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolResult,
    ErrorData,
    RequestParams,
    RequestParamsMeta,
    TextContent,
)
from mcp_types.methods import serialize_server_result
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from opentelemetry import context as otel_context
from opentelemetry.trace import Span, SpanKind, StatusCode, get_tracer, set_span_in_context
from pydantic import BaseModel, ValidationError

from linkspan_contract.envelope import JsonObject
from linkspan_session.kernel.call import TRACE_FIELDS, Call

METHOD: Final = "tools/call"

_OBSERVER: Final = ("mcp.server._otel", "OpenTelemetryMiddleware")
"""The SDK's middleware that makes the span of each message; its class is not public."""

_PLAIN_PARAMS: Final = frozenset({"name", "arguments", "_meta"})
_PLAIN_META: Final = frozenset({*TRACE_FIELDS, "progressToken"})
_MAX_NODES: Final = 200
"""How much structured content is looked through; more of it is the runner's affair."""

logger = logging.getLogger("linkspan_session.kernel")
_tracer: Final = get_tracer("mcp-python-sdk")


def is_plain_call(server: Server[Any], connection: Connection, params: JsonObject | None) -> bool:
    """Tell whether a `tools/call` can take the short way."""
    if params is None or not params.keys() <= _PLAIN_PARAMS:
        return False
    arguments: object = params.get("arguments", {})
    if type(params.get("name")) is not str or type(arguments) is not dict:
        return False
    if "_meta" in params and not _is_plain_meta(params["_meta"]):
        return False
    return (
        connection.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS
        and connection.initialize_accepted
        and METHOD not in server.cache_hints
        and _has_plain_middleware(server)
    )


async def call_plainly(
    server: Server[Any],
    connection: Connection,
    lifespan_state: object,
    call: Call,
    params: JsonObject,
) -> JsonObject:
    """Do what `ServerRunner.on_request` does for a plain `tools/call`; raises what it raises."""
    entry = server.get_request_handler(METHOD)
    name: str = params["name"]
    version = connection.protocol_version
    span = _tracer.start_span(
        f"{METHOD} {name}" if name else METHOD,
        kind=SpanKind.SERVER,
        attributes={
            "mcp.method.name": METHOD,
            "mcp.protocol.version": version,
            "jsonrpc.request.id": str(call.request_id),
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
        },
    )
    token = otel_context.attach(set_span_in_context(span))
    try:
        if entry is None:
            raise MCPError(code=-32601, message="Method not found", data=METHOD)  # noqa: TRY301
        meta = _meta_of(params)
        context: ServerRequestContext[Any, Any] = ServerRequestContext(
            session=ServerSession(call, connection, request_meta=meta),
            lifespan_context=lifespan_state,
            method=METHOD,
            params=params,
            request_id=call.request_id,
            meta=meta,
            protocol_version=version,
            request=None,
            close_sse_stream=call.closing.answer if call.closing else None,
            close_standalone_sse_stream=call.closing.listening if call.closing else None,
        )
        result = await entry.handler(
            context, entry.params_type.model_validate(params, by_name=False)
        )
        if isinstance(result, ErrorData):
            raise MCPError.from_error_data(result)  # noqa: TRY301
        written = _written(result, version)
        if written.get("isError") is True:
            span.set_attribute("error.type", "tool_error")
            span.set_status(StatusCode.ERROR)
        return written
    except Exception as error:
        _tell(span, error)
        raise
    finally:
        otel_context.detach(token)
        span.end()


def _is_plain_meta(meta: object) -> bool:
    if type(meta) is not dict:
        return False
    fields = cast("JsonObject", meta)
    token: object = fields.get("progressToken", "")
    texts = (value for key, value in fields.items() if key != "progressToken")
    return (
        fields.keys() <= _PLAIN_META
        and type(token) in (str, int)
        and all(type(value) is str for value in texts)
    )


def _has_plain_middleware(server: Server[Any]) -> bool:
    """Tell whether nothing but the SDK's own stands around a handler, and the span outermost."""
    middleware = server.middleware
    if not middleware:
        return False
    outermost = type(middleware[0])
    if (outermost.__module__, outermost.__qualname__) != _OBSERVER:
        return False
    # Without a `requestState`, which plain parameters have not, it passes a request on; what it does
    # to an answer is for those of later versions.
    return all(type(each) is RequestStateBoundary for each in middleware[1:])


def _meta_of(params: JsonObject) -> RequestParamsMeta | None:
    if "_meta" not in params:
        return None
    return RequestParams.model_validate(params, by_name=False).meta


def _written(result: object, version: str) -> JsonObject:
    """Write a result as the version has it.

    Raises:
        MCPError: It is no result of a tool.
        TypeError: It is none of the types that a handler may return.
    """
    if type(result) is CallToolResult:
        written = _plainly_written(result)
        if written is not None:
            return written
    try:
        return serialize_server_result(METHOD, version, _dumped(result))
    except ValidationError:
        logger.exception("the handler of %r returned an invalid result", METHOD)
        raise MCPError(code=INTERNAL_ERROR, message="Handler returned an invalid result") from None


def _plainly_written(result: CallToolResult) -> JsonObject | None:
    """Write a result of texts and plain structured content; None if there is more to it."""
    if result.meta is not None or result.model_extra or type(result.is_error) is not bool:
        return None
    content: list[JsonObject] = []
    for each in result.content:
        if type(each) is not TextContent or type(each.text) is not str:
            return None
        if each.annotations is not None or each.meta is not None:
            return None
        content.append({"text": each.text, "type": "text"})
    written: JsonObject = {"content": content, "isError": result.is_error}
    structured: object = result.structured_content
    if structured is not None:
        if type(structured) is not dict or _count_plain(cast("JsonObject", structured), 0) is None:
            return None
        written["structuredContent"] = structured
    return written


def _count_plain(value: object, before: int) -> int | None:
    """Count the values within a value; None if one is not plain JSON, or there are too many."""
    count = before + 1
    if count > _MAX_NODES:
        return None
    kind = type(value)
    if kind is dict:
        for key, each in cast("dict[object, object]", value).items():
            counted = _count_plain(each, count) if type(key) is str else None
            if counted is None:
                return None
            count = counted
        return count
    if kind is list:
        for each in cast("list[object]", value):
            counted = _count_plain(each, count)
            if counted is None:
                return None
            count = counted
        return count
    return count if kind in (str, int, bool) or value is None else None


def _dumped(result: object) -> dict[str, Any]:
    if result is None:
        return {}
    if isinstance(result, BaseModel):
        return result.model_dump(by_alias=True, mode="json", exclude_none=True)
    if isinstance(result, dict):
        return dict(cast("dict[str, Any]", result))
    raise TypeError(f"handler returned {type(result).__name__}; expected BaseModel, dict, or None")


def _tell(span: Span, error: Exception) -> None:
    """Say in the span how a call failed; what a client sent stays out."""
    match error:
        case MCPError():
            code, words = str(error.error.code), error.error.message
            span.set_attributes({"error.type": code, "rpc.response.status_code": code})
        case ValidationError():
            code, words = str(INVALID_PARAMS), "Invalid request parameters"
            span.set_attributes({"error.type": code, "rpc.response.status_code": code})
        case _:
            words = str(error)
            span.set_attribute("error.type", type(error).__qualname__)
            span.record_exception(error)
    span.set_status(StatusCode.ERROR, words)
