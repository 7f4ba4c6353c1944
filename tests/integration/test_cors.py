"""What a browser sees of the worker's answers, good and bad; as HTTP, without a browser."""

import asyncio
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

import httpx2
import pytest
from tests.requirements import requirement
from tests.support.mcp_http import BOTH, call, events_of, http_session
from tests.support.peer import INITIALIZE, modern, modern_headers, request
from tests.support.processes import linkspan
from tests.support.stack import Stack
from tests.unit.worker.raw_http import SHORT_SECONDS, serving

from linkspan_worker.http import HttpExchange

ORIGIN: Final = "http://localhost:6274"
FOREIGN: Final = "http://evil.example"
JSON: Final = {"content-type": "application/json", "accept": BOTH}
UNKNOWN: Final = {**JSON, "mcp-session-id": "unknown"}
LIST: Final = modern("tools/list")
PING: Final = json.dumps(request("ping")).encode()

SAFELISTED: Final = frozenset({"cache-control", "content-type", "content-length", "vary"})
"""What any page may read, and what is for caches."""

GENERAL: Final = frozenset({"connection", "transfer-encoding", "x-accel-buffering"})


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    """A client that says it is a page."""
    with httpx2.Client(timeout=30, headers={"origin": ORIGIN}) as http:
        yield http


def check_readable(response: httpx2.Response) -> None:
    """Check that a page can read an answer, and all of it that clients need."""
    assert response.headers.get_list("access-control-allow-origin") == [ORIGIN]
    assert response.headers.get_list("vary") == ["Origin"]
    exposed = response.headers["access-control-expose-headers"].lower().split(", ")
    names = {name for name in response.headers if not name.startswith("access-control-")}
    assert names - SAFELISTED - GENERAL <= set(exposed)


@requirement("cors.exposed", "cors.caches")
@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("POST", JSON, json.dumps(request("initialize", INITIALIZE)).encode(), 200),
        ("POST", {**JSON, **modern_headers(LIST)}, json.dumps(LIST).encode(), 200),
        ("OPTIONS", {}, b"", 204),
        ("POST", JSON, b"{", 400),
        ("POST", JSON, PING, 400),
        ("POST", {**JSON, "mcp-protocol-version": "2099-01-01"}, PING, 400),
        ("POST", UNKNOWN, PING, 404),
        ("GET", {**UNKNOWN, "accept": "text/event-stream"}, b"", 404),
        ("DELETE", UNKNOWN, b"", 404),
        ("PUT", {}, b"", 405),
        ("POST", {**JSON, "accept": "text/html"}, PING, 406),
        ("POST", JSON, b" " * (4 * 1024 * 1024 + 1), 413),
        ("POST", {"content-type": "text/plain"}, PING, 415),
        ("POST", {**JSON, "host": "evil.example"}, PING, 421),
        ("POST", {**JSON, "padding": "x" * 70_000}, PING, 431),
    ],
)
def test_a_page_can_read_every_answer(
    stack: Stack,
    http: httpx2.Client,
    method: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
) -> None:
    response = http.request(method, stack.mcp, headers=headers, content=body)
    assert response.status_code == status
    check_readable(response)


@requirement("cors.exposed")
def test_a_page_can_read_a_stream_and_in_which_session_and_trace_it_is(stack: Stack) -> None:
    with http_session(stack.mcp) as session:
        session.http.headers["origin"] = ORIGIN
        counting = call("count", {"to": 2, "every_seconds": 0.01})
        with session.http.stream(
            "POST", stack.mcp, json=counting, headers=session.headers
        ) as response:
            assert response.headers["content-type"] == "text/event-stream"
            assert "traceresponse" in response.headers
            check_readable(response)
            assert [each for each in events_of(response) if each.data][-1].json["result"]


@requirement("cors.exposed")
def test_a_page_can_read_that_nobody_is_there_and_when_to_come_back(http: httpx2.Client) -> None:
    with linkspan(
        "worker", "--session", "127.0.0.1:1", "--port", "0", "--retry-for", "0.1"
    ) as worker:
        mcp = worker.wait_ready()["mcp"]
        response = http.post(mcp, headers=JSON, json=request("initialize", INITIALIZE))
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        check_readable(response)


def test_an_answer_of_the_http_server_itself_has_the_headers_that_it_was_given() -> None:
    async def breaks(exchange: HttpExchange) -> None:
        raise ZeroDivisionError

    async def scene() -> None:
        told: list[Any] = []

        def fields_of(exchange: HttpExchange) -> str:
            told.append((exchange.method, dict(exchange.headers).get(b"origin")))
            return "vary: Origin\r\n"

        head = b"GET / HTTP/1.1\r\norigin: a\r\n"
        async with serving(breaks, fields_of=fields_of) as running:
            for rest, status in (
                (b"\r\n", 500),
                (b"padding: " + b"x" * 70_000 + b"\r\n\r\n", 431),
                (b"more: x\r\nbro ken: x\r\n\r\n", 400),
            ):
                response = await running.ask(head + rest)
                assert (response.status, response.headers["vary"]) == (status, "Origin")
        async with serving(breaks, fields_of=fields_of, message_seconds=SHORT_SECONDS) as running:
            response = await running.ask(head + b"unfini")
            assert (response.status, response.headers["vary"]) == (408, "Origin")
        assert told == [("GET", b"a"), ("", b"a"), ("", b"a"), ("", b"a")]

    asyncio.run(scene())


@requirement("cors.preflight")
def test_a_preflight_lets_clients_of_both_eras_send_what_they_send(
    stack: Stack, http: httpx2.Client
) -> None:
    message = modern("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
    sent = [
        "authorization",
        "baggage",
        "content-type",
        "last-event-id",
        "mcp-param-region",
        "mcp-session-id",
        "traceparent",
        "tracestate",
        *modern_headers(message),
    ]
    asked = {
        "access-control-request-method": "DELETE",
        "access-control-request-headers": ",".join([*sent, "x-other"]),
    }
    response = http.options(stack.mcp, headers=asked)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "DELETE" in response.headers["access-control-allow-methods"].split(", ")
    assert response.headers["access-control-allow-headers"].split(", ") == sent
    assert response.headers["access-control-max-age"] == "7200"
    assert response.headers["allow"] == "GET, POST, DELETE, OPTIONS"


@requirement("cors.origins")
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "OPTIONS"])
def test_a_page_that_is_not_allowed_is_refused_and_told_nothing(stack: Stack, method: str) -> None:
    headers = {"origin": FOREIGN, "access-control-request-method": "POST"}
    response = httpx2.request(method, stack.mcp, headers=headers)
    assert response.status_code == HTTPStatus.FORBIDDEN
    assert [name for name in response.headers if name.startswith("access-control-")] == []
    assert response.headers["vary"] == "Origin"


@requirement("cors.caches")
def test_a_client_that_is_no_browser_is_told_nothing_of_it(stack: Stack) -> None:
    posted = httpx2.post(stack.mcp, headers=JSON, json=request("initialize", INITIALIZE))
    assert posted.status_code == HTTPStatus.OK
    got = httpx2.get(stack.mcp)
    assert got.headers["vary"] == "Origin"
    assert "vary" not in posted.headers
    for response in (posted, got):
        assert [name for name in response.headers if name.startswith("access-control-")] == []


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/nothing"])
def test_what_is_not_for_pages_is_not_readable_by_them(
    stack: Stack, http: httpx2.Client, path: str
) -> None:
    for response in (http.get(stack.http + path), http.options(stack.http + path)):
        assert "access-control-allow-origin" not in response.headers


@requirement("cors.metadata")
def test_a_page_learns_that_there_are_no_metadata(stack: Stack, http: httpx2.Client) -> None:
    response = http.get(f"{stack.http}/.well-known/oauth-protected-resource/mcp")
    assert response.status_code == HTTPStatus.NOT_FOUND
    check_readable(response)
