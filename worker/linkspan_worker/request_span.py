"""The `mcp.request` span: what it is called, whom it descends from, what it says.

Knows HTTP and MCP names, not how a request is served. Names under `http.`, `url.`, `server.`,
`client.`, `user_agent.` and `network.` are OpenTelemetry's stable HTTP conventions;
`mcp.session.id`, `mcp.method.name`, `mcp.protocol.version` and `jsonrpc.request.id` are its MCP
conventions; the others are finer, and ours. Values that a client chooses are cut to 256 characters;
no header value is recorded but those named here, and of `Authorization` only scheme and length.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Final, TypeAlias, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, StatusCode, get_current_span
from opentelemetry.util.types import AttributeValue

from linkspan_contract.envelope import Envelope, JsonObject, Request, Response
from linkspan_contract.session_digest import session_digest
from linkspan_contract.shown_uri import shown_uri
from linkspan_propagation import extract_from_fields
from linkspan_worker.admission import SESSION_ID_HEADER
from linkspan_worker.caller_trust import CallerTrust, apart, captured_headers
from linkspan_worker.failures import Refusal
from linkspan_worker.forwarded import Address, PassedOn
from linkspan_worker.headers import Headers, SteadyHeaders
from linkspan_worker.http import HttpExchange
from linkspan_worker.mcp_headers import VERSION_HEADER
from linkspan_worker.message_attributes import (
    answer_attributes,
    client_attributes,
    modern_client_attributes,
    response_attributes,
)

SPAN_NAME: Final = "mcp.request"

Attributes: TypeAlias = dict[str, AttributeValue]

_MAX_VALUE_CHARS: Final = 256
_MAX_HEADER_NAMES: Final = 64
_META: Final = "_meta"
_SERVER_FAULT: Final = 500
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@cache
def _tracer() -> trace.Tracer:
    """Return the tracer, asked for once telemetry is set up: before that it would have no sampler."""
    return trace.get_tracer("linkspan.worker")


_TARGETS: Final[Mapping[str, tuple[str, str]]] = {
    "tools/call": ("name", "mcp.tool.name"),
    "prompts/get": ("name", "mcp.prompt.name"),
    "resources/read": ("uri", "mcp.resource.uri"),
}
"""For methods that act on a named thing: the parameter that names it, and the attribute."""


class RequestSpan:
    """One request's span. Start it when the body has been read; end it when the answer is out."""

    def __init__(
        self,
        exchange: HttpExchange,
        headers: Headers,
        envelope: Envelope | None,
        *,
        started_nanos: int,
        trust: CallerTrust,
    ) -> None:
        """Start the span, as of `started_nanos` since the Unix epoch.

        Args:
            exchange: The HTTP request.
            headers: The request's headers.
            envelope: What the body says; None if there is none or it could not be read.
            started_nanos: When the request came in.
            trust: What is made of the client's trace context and headers.
        """
        parent, links = parent_of(headers, envelope)
        if trust.links:
            parent, links = apart(parent, links)
        span = _tracer().start_span(
            SPAN_NAME, parent, SpanKind.SERVER, links=links, start_time=started_nanos
        )
        self.span = span
        self.context = trace.set_span_in_context(span, parent)
        if span.is_recording():
            attributes = _attributes_of(exchange, headers)
            if trust.captured:
                attributes.update(captured_headers(headers, trust.captured))
            if envelope is not None:
                _add_envelope_attributes(attributes, envelope)
            span.set_attributes(attributes)

    def name_session(self, session_id: str) -> None:
        """Say which session the request is about, once that is known."""
        self.span.set_attributes(_session_attributes(session_id))

    def refused(self, refusal: Refusal) -> None:
        """Say that the request was answered with an error of ours."""
        self.span.set_attribute("error.type", refusal.error_type)
        self.failed(refusal.code)
        self.span.set_attribute("mcp.rpc.error.message", refusal.message[:_MAX_VALUE_CHARS])

    def failed(self, code: int) -> None:
        """Say that the answer is a JSON-RPC error; its words may be the user's, and stay out."""
        self.span.set_attribute("mcp.rpc.is_error", True)
        self.span.set_attribute("mcp.rpc.error.code", code)

    def answered(self, *, tool_error: bool) -> None:
        """Say that the answer is a result."""
        self.span.set_attribute("mcp.rpc.is_error", False)
        if tool_error:
            self.span.set_attribute("mcp.tool.result.is_error", True)

    def link(self, traceparent: str) -> None:
        """Point to the span of another trace that this request goes on from; empty is none."""
        context = get_current_span(extract_from_fields([traceparent], [], [])).get_span_context()
        if context.is_valid:
            self.span.add_link(context)

    def client_gone(self) -> None:
        """Say that the client went away before its answer was out."""
        self.span.set_attribute("error.type", "client_disconnected")

    def end(self, status: int | None, content_type: str = "") -> None:
        """End the span.

        Args:
            status: The HTTP status; None if none was sent.
            content_type: What kind of body was sent; empty for none.
        """
        if status is not None:
            self.span.set_attributes(response_attributes(status, content_type))
            if status >= _SERVER_FAULT:  # a client's fault is no error of a server's span
                self.span.set_status(StatusCode.ERROR)
        self.span.end()


def parent_of(headers: Headers, envelope: Envelope | None) -> tuple[Context, list[Link]]:
    """Find the client's span: in the HTTP headers, in `params._meta` (SEP-414), or nowhere.

    If both name one trace, the header is the nearer parent, since whoever wrote it stands between
    the client and us. If they name two, `_meta` is the client's own and the header becomes a link.
    """
    by_header = extract_from_fields(
        headers.all("traceparent"), headers.all("tracestate"), headers.all("baggage")
    )
    meta = _meta_of(envelope)
    if not meta:
        return by_header, []
    by_meta = _extract_from_meta(meta)
    header_span = get_current_span(by_header).get_span_context()
    meta_span = get_current_span(by_meta).get_span_context()
    if not meta_span.is_valid or header_span.trace_id == meta_span.trace_id:
        return by_header, []
    return by_meta, [Link(header_span)] if header_span.is_valid else []


def _meta_of(envelope: Envelope | None) -> JsonObject:
    if envelope is None or isinstance(envelope, Response) or envelope.params is None:
        return {}
    meta: object = envelope.params.get("_meta")
    return cast("JsonObject", meta) if isinstance(meta, dict) else {}


def _extract_from_meta(meta: JsonObject) -> Context:
    def values(name: str) -> list[str]:
        value: object = meta.get(name)
        return [value] if isinstance(value, str) else []

    return extract_from_fields(values("traceparent"), values("tracestate"), values("baggage"))


def _attributes_of(exchange: HttpExchange, headers: Headers) -> Attributes:
    """Return what can be said of a request before its body is read."""
    attributes = headers.steady.once(
        _steady_attributes,
        exchange.method,
        exchange.path,
        exchange.http_version,
        exchange.server,
        exchange.client,
    ).copy()
    if exchange.passed_on is not None:
        _look_behind_proxies(attributes, exchange.passed_on)
    return attributes


def _steady_attributes(
    headers: SteadyHeaders,
    method: str,
    path: str,
    http_version: str,
    server: tuple[str, int] | None,
    client: tuple[str, int] | None,
) -> Attributes:
    """Return what is said of each request of a client that sends the same headers again."""
    attributes: Attributes = {
        "http.request.method": method,
        "http.route": "/mcp",
        "url.path": path,
        "url.scheme": "http",
        "network.protocol.name": "http",
        "network.protocol.version": http_version,
        "mcp.request.method": method,
    }
    if server is not None:
        attributes["server.address"], attributes["server.port"] = server
    if client is not None:
        attributes["client.address"], attributes["client.port"] = client
    agent = headers.get("user-agent")
    if agent is not None:
        attributes["user_agent.original"] = agent[:_MAX_VALUE_CHARS]
    _add_header_attributes(attributes, headers)
    return attributes


def _look_behind_proxies(attributes: Attributes, passed_on: PassedOn) -> None:
    """Say what the client saw, and that the peer is not the client.

    Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span
    """
    if "client.address" in attributes:
        attributes["network.peer.address"] = attributes["client.address"]
        attributes["network.peer.port"] = attributes["client.port"]
    if passed_on.client is not None:
        attributes.pop("client.port", None)
        _add_address(attributes, "client", passed_on.client)
    if passed_on.scheme:
        attributes["url.scheme"] = passed_on.scheme
    if passed_on.host is not None:
        name, port = passed_on.host
        default = _DEFAULT_PORTS.get(passed_on.scheme)
        attributes.pop("server.port", None)
        _add_address(attributes, "server", (name, default if port is None else port))


def _add_address(attributes: Attributes, prefix: str, address: Address) -> None:
    attributes[f"{prefix}.address"], port = address
    if port is not None:
        attributes[f"{prefix}.port"] = port


def _session_attributes(session_id: str) -> Attributes:
    """Name a session by the digest of its id: the id is as good as a key."""
    digest = session_digest(session_id)
    return {"mcp.request.session_id": digest, "mcp.session.id": digest}


def _add_header_attributes(attributes: Attributes, headers: SteadyHeaders) -> None:
    session_id = headers.get(SESSION_ID_HEADER)
    authorization = headers.get("authorization")
    attributes["mcp.request.session_id_present"] = session_id is not None
    attributes["mcp.auth.has_bearer"] = False
    attributes["mcp.http.header.names"] = _shown_names(headers.names()[:_MAX_HEADER_NAMES])
    if session_id is not None:
        attributes.update(_session_attributes(session_id))
    version = headers.get(VERSION_HEADER)
    if version is not None:
        attributes["mcp.protocol.version"] = version[:_MAX_VALUE_CHARS]
        attributes["mcp.client.protocol_version"] = version[:_MAX_VALUE_CHARS]
    if authorization is not None:
        scheme, found, credential = authorization.partition(" ")
        # Without a scheme the value may be the secret itself.
        attributes["mcp.auth.credential_type"] = scheme[:16].lower() if found else "unknown"
        attributes["mcp.auth.credential_length"] = len(credential if found else authorization)
        attributes["mcp.auth.has_bearer"] = bool(found) and scheme.lower() == "bearer"


@lru_cache(256)
def _shown_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Cut the names of headers; remembered, because clients send the same ones over and over."""
    return tuple(name[:_MAX_VALUE_CHARS] for name in names)


def _add_envelope_attributes(attributes: Attributes, envelope: Envelope) -> None:
    if isinstance(envelope, Response):
        attributes["mcp.rpc.id"] = str(envelope.id)[:_MAX_VALUE_CHARS]
        attributes.update(answer_attributes(envelope))
        return
    method = envelope.method[:_MAX_VALUE_CHARS]
    attributes["mcp.rpc.method"] = attributes["mcp.method.name"] = method
    if isinstance(envelope, Request):
        request_id = str(envelope.id)[:_MAX_VALUE_CHARS]
        attributes["mcp.rpc.id"] = attributes["jsonrpc.request.id"] = request_id
    params = envelope.params or {}
    parameter, attribute = _TARGETS.get(envelope.method, ("", ""))
    target: object = params.get(parameter)
    if isinstance(target, str):
        shown = shown_uri(target) if parameter == "uri" else target
        attributes[attribute] = shown[:_MAX_VALUE_CHARS]
    if envelope.method == "initialize":
        attributes.update(client_attributes(params))
    elif _META in params:
        attributes.update(modern_client_attributes(params[_META]))
