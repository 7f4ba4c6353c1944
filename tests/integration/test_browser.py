"""Pages in a real browser: of an allowed origin they are MCP clients, of another they get nothing."""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest
from tests.requirements import requirement
from tests.support.stack import Stack, running_stack
from tests.traces.chromium import Page, chromium_page

from linkspan_propagation.testing import OtlpReceiver

ALLOWED: Final = "good.example"
FOREIGN: Final = "evil.example"
TRACE: Final = "0af7651916cd43dd8448eb211c80319e"

_visits: Final = itertools.count()

CLIENT: Final = """
  const post = (message, headers = {}) => fetch(mcp, {
    method: 'POST',
    headers: {'content-type': 'application/json',
              'accept': 'application/json, text/event-stream', ...headers},
    body: JSON.stringify({jsonrpc: '2.0', ...message}),
  });
  const initialize = () => post({id: 0, method: 'initialize', params: {
    protocolVersion: '2025-11-25', capabilities: {}, clientInfo: {name: 'page', version: '1'}}});
"""
"""A client in a few lines, for a script in which `mcp` is the worker's address."""


class _BlankPage(BaseHTTPRequestHandler):
    """Serves a page with nothing in it, under whatever name it is asked for."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>page</title>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@dataclass(frozen=True)
class Scene:
    """A browser, a worker, and where spans go.

    Attributes:
        page: The page that scripts run in.
        stack: The worker that it calls.
        receiver: Where the worker's spans go.
        port: Where pages are served; under which name is for the test to say.
    """

    page: Page
    stack: Stack
    receiver: OtlpReceiver
    port: int

    def run(self, host: str, script: str) -> Any:
        """Run a client's script in a page of a host, and return what it returns."""
        visit = f"?{next(_visits)}"  # so that no page before it is taken for this one
        self.page.open(f"http://{host}:{self.port}/{visit}")
        self.page.wait_for(f"location.search === '{visit}' && document.title === 'page'")
        return self.page.evaluate(
            f"(async () => {{ const mcp = '{self.stack.mcp}'; {CLIENT} {script} }})()"
        )


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """All of it; the worker allows pages of one other name."""
    names = ",".join(f"MAP {name} 127.0.0.1" for name in (ALLOWED, FOREIGN))
    profile = tmp_path_factory.mktemp("profile")
    with chromium_page(profile, f"--host-resolver-rules={names}") as page, OtlpReceiver() as spans:
        pages = ThreadingHTTPServer(("127.0.0.1", 0), _BlankPage)
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        port = pages.server_address[1]
        try:
            with running_stack(
                tmp_path_factory.mktemp("data"),
                receiver=spans,
                worker_arguments=("--allowed-origins", f"http://{ALLOWED}:{port}"),
            ) as stack:
                yield Scene(page, stack, spans, port)
        finally:
            pages.shutdown()
            pages.server_close()


@requirement("cors.browser", "cors.exposed", "cors.preflight")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", ALLOWED])
def test_a_page_of_an_allowed_origin_uses_a_session_with_fetch(scene: Scene, host: str) -> None:
    told = scene.run(
        host,
        """
        const opened = await initialize();
        const session = {'mcp-session-id': opened.headers.get('mcp-session-id'),
                         'mcp-protocol-version': '2025-11-25'};
        const opening = await opened.json();
        const noted = await post({method: 'notifications/initialized'}, session);
        const listed = await (await post({id: 1, method: 'tools/list'}, session)).json();
        const called = await post({id: 2, method: 'tools/call',
          params: {name: 'add', arguments: {a: 2, b: 3}}}, session);
        const counted = await post({id: 3, method: 'tools/call', params: {name: 'count',
          arguments: {to: 2, every_seconds: 0.01}, _meta: {progressToken: 'p'}}}, session);
        const stream = await counted.text();
        const lastId = [...stream.matchAll(/^id: (.*)$/gm)][0][1];
        const resumed = await fetch(mcp, {headers: {...session, 'accept': 'text/event-stream',
          'last-event-id': lastId}});
        const replay = await resumed.text();
        const ended = await fetch(mcp, {method: 'DELETE', headers: session});
        const gone = await post({id: 4, method: 'ping'}, session);
        return {
          session: session['mcp-session-id'], server: opening.result.serverInfo.name,
          noted: noted.status, tools: listed.result.tools.map((each) => each.name),
          called: (await called.json()).result.structuredContent,
          trace: called.headers.get('traceresponse'),
          kind: counted.headers.get('content-type'), stream, replay,
          ended: ended.status, gone: gone.status, why: (await gone.json()).error.message,
        };
        """,
    )
    assert told["session"]
    assert told["server"]
    assert told["noted"] == 202
    assert "add" in told["tools"]
    assert told["called"] == {"result": 5}
    trace = told["trace"].split("-")[1]
    spans = scene.receiver.wait_for(
        lambda spans: any(span.trace_id == trace for span in spans), 15, trace
    )
    assert {span.name for span in spans if span.trace_id == trace} >= {"mcp.request"}
    assert told["kind"] == "text/event-stream"
    assert '"progress"' in told["stream"]
    assert '"result"' in told["stream"]
    assert '"result"' in told["replay"]
    assert told["ended"] == 200
    assert told["gone"] == 404
    assert "Session not found" in told["why"]


@requirement("cors.browser", "cors.preflight")
@pytest.mark.parametrize("host", ["127.0.0.1", ALLOWED])
def test_a_page_of_an_allowed_origin_calls_without_a_session_in_a_trace_of_its_own(
    scene: Scene, host: str
) -> None:
    told = scene.run(
        host,
        f"""
        const called = await post({{id: 1, method: 'tools/call', params: {{name: 'add',
          arguments: {{a: 2, b: 3}}, _meta: {{
            'io.modelcontextprotocol/protocolVersion': '2026-07-28',
            'io.modelcontextprotocol/clientCapabilities': {{}}}}}}}},
          {{'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'add',
            'traceparent': '00-{TRACE}-b7ad6b7169203331-01', 'tracestate': 'page=1',
            'baggage': 'tenant=blue'}});
        return [(await called.json()).result.structuredContent,
                called.headers.get('traceresponse')];
        """,
    )
    assert told[0] == {"result": 5}
    assert told[1].split("-")[1] == TRACE


@requirement("cors.browser", "cors.origins")
def test_a_page_of_another_origin_gets_nothing_and_calls_nothing(scene: Scene) -> None:
    told = scene.run(
        FOREIGN,
        """
        const outcomes = [];
        const attempts = [
          initialize,
          () => post({id: 1, method: 'ping'}, {'mcp-session-id': 'x'}),
          // What a browser sends without asking before, and a worker has to refuse by itself.
          () => fetch(mcp, {method: 'POST', headers: {'content-type': 'text/plain'}, body: '{}'}),
          () => fetch(mcp),
          () => fetch(mcp, {credentials: 'include'}),
        ];
        for (const attempt of attempts) {
          outcomes.push(await attempt().then((answer) => answer.status, (error) => error.name));
        }
        const blind = await fetch(mcp, {method: 'POST', mode: 'no-cors', body: '{}'});
        return [outcomes, blind.type, blind.status];
        """,
    )
    assert told == [["TypeError"] * 5, "opaque", 0]
    agent = scene.page.evaluate("navigator.userAgent")

    def refused() -> list[str]:
        return sorted(
            str(span.attributes["http.request.method"])
            for span in scene.receiver.spans()
            if span.attributes.get("user_agent.original") == agent
            and span.attributes["http.response.status_code"] == 403
        )

    expected = ["GET", "GET", "OPTIONS", "OPTIONS", "POST", "POST"]
    scene.receiver.wait_for(lambda _: len(refused()) >= len(expected), 15, "six refusals")
    assert refused() == expected


@requirement("cors.credentials")
def test_a_page_that_sends_cookies_along_is_not_answered(scene: Scene) -> None:
    outcome = scene.run(
        "127.0.0.1",
        """
        return fetch(mcp, {method: 'POST', credentials: 'include', body: '{}',
                           headers: {'content-type': 'application/json'}})
          .then((answer) => answer.status, (error) => error.name);
        """,
    )
    assert outcome == "TypeError"
