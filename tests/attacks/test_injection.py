"""What callers and tools say stays a value: in header fields, metadata, events, logs and spans."""

import json
import re
from collections.abc import Iterator
from typing import Final

import pytest
from tests.requirements import requirement
from tests.support.apps import APPS
from tests.support.hostile import RawResponse, read_responses, resident_bytes, sent_raw
from tests.support.impostor import running_impostor
from tests.support.peer import modern, modern_headers, notification, peer_of, request
from tests.support.processes import linkspan
from tests.support.stack import Stack, running_stack
from tests.support.waiting import wait_until

from linkspan_propagation.testing import ExportedSpan, OtlpReceiver

PARROT: Final = str(APPS / "parrot.py") + ":mcp"

HOSTILE: Final = (
    "x\r\nset-cookie: a=b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    '\n\nevent: message\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\n\n'
    "\rid: 9\r\rretry: 1\r\r\x0b\x0c\x1c\x1d\x85\u2028\u2029\x00\x1b[2J\x9b"
    "\n2026-01-01 00:00:00,000 INFO    linkspan trace=- forged"
)

SSE_LINE: Final = re.compile(r"\r\n|\n|\r")
"""How an event stream is split into lines: not as Python splits one.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as running:
        yield running


@pytest.fixture(scope="module", params=["text", "json"])
def parrot(
    request: pytest.FixtureRequest,
    receiver: OtlpReceiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    form = ("--log-format", str(request.param), "--log-level", "debug")  # so that all is told
    with running_stack(
        tmp_path_factory.mktemp("data"),
        app=PARROT,
        receiver=receiver,
        session_arguments=form,
        worker_arguments=form,
    ) as running:
        yield running


def posted(parrot: Stack, message: dict[str, object], **headers: str) -> RawResponse:
    """Post a message over a bare connection, and return the answer as it was framed."""
    body = json.dumps(message).encode()
    fields = {
        "host": "localhost",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "connection": "close",
        "content-length": str(len(body)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    raw = sent_raw(parrot.mcp, [f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body])
    (response,) = read_responses(raw)
    return response


def call(tool: str, text: str) -> dict[str, object]:
    meta = {"progressToken": "p"}
    return modern("tools/call", {"name": tool, "arguments": {"text": text}, "_meta": meta})


def headers_of(message: dict[str, object], name: str) -> dict[str, str]:
    params = message["params"]
    assert isinstance(params, dict)
    return {**modern_headers({**message, "params": {**params, "name": name}})}


@requirement("attacks.injection")
def test_what_a_tool_says_is_one_event_however_it_says_it(parrot: Stack) -> None:
    response = posted(parrot, call("say", HOSTILE), **headers_of(call("say", ""), "say"))
    assert response.fields["content-type"] == "text/event-stream"
    events: list[dict[str, str]] = [{}]
    for line in SSE_LINE.split(response.body.decode()):
        if not line:
            events.append({})
            continue
        name, _, value = line.partition(": ")
        assert name not in events[-1]
        events[-1][name] = value
    told = [json.loads(event["data"]) for event in events if event]
    assert [set(event) for event in events if event] == [{"event", "data"}] * 2
    assert told[0]["params"]["message"] == HOSTILE
    assert told[1]["result"]["content"][0]["text"] == HOSTILE


@requirement("attacks.injection")
@pytest.mark.parametrize("where", ["id", "method", "tool", "uri", "client", "version"])
def test_no_name_that_a_client_chooses_becomes_a_header(parrot: Stack, where: str) -> None:
    message = {
        "id": request("ping", id=HOSTILE),
        "method": request(HOSTILE),
        "tool": request("tools/call", {"name": HOSTILE}),
        "uri": request("resources/read", {"uri": HOSTILE}),
        "client": request(
            "initialize",
            {
                "protocolVersion": "2025-11-25",
                "capabilities": {HOSTILE: {}},
                "clientInfo": {"name": HOSTILE, "version": HOSTILE},
            },
        ),
        "version": request(
            "initialize",
            {
                "protocolVersion": HOSTILE,
                "capabilities": {},
                "clientInfo": {"name": "x", "version": "1"},
            },
        ),
    }[where]
    with peer_of(parrot.mcp) as peer:
        peer.initialize()
        headers = {"mcp-session-id": peer.session_id or ""}
    response = posted(parrot, message, **({} if where in ("client", "version") else headers))
    assert response.status < 500
    assert set(response.fields) <= {
        "date",
        "content-type",
        "content-length",
        "connection",
        "mcp-session-id",
        "traceresponse",
    }
    if where == "id":
        assert json.loads(response.body)["id"] == HOSTILE


@requirement("attacks.injection")
def test_nothing_that_a_client_sends_becomes_metadata_of_its_own(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    meta = {
        "traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01\r\nx-evil: 1",
        "tracestate": "a=b\r\nx-evil: 1",
        "baggage": "a=b\r\nx-evil: 1",
        "x-evil": "1",
    }
    headers = {
        "x-evil": "1",
        "x-evil-bin": "AAAA",
        "grpc-timeout": "1n",
        "grpc-encoding": "gzip",
        "te": "trailers",
        "linkspan-routing-key": "evil",
        "mcp-param-x": "\xff\x80",
        "baggage": "a=b,evil=\xff",
        "tracestate": "a=\xff",
    }
    message = request("ping", {"_meta": meta})
    with (
        running_impostor(tmp_path_factory.mktemp("impostor")) as impostor,
        linkspan(
            "worker", "--session", f"127.0.0.1:{impostor.port}", "--port", "0", "--retry-for", "0.1"
        ) as worker,
        peer_of(worker.wait_ready()["mcp"], session_id="evil-session") as peer,
    ):
        assert peer.post(message, headers=headers).status == 503
        (first, *_) = impostor.metadata
    allowed = {"traceparent", "tracestate", "baggage", "user-agent", "linkspan-routing-key"}
    assert set(first) <= {*allowed, "grpc-accept-encoding", "accept-encoding"}
    assert first["linkspan-routing-key"] == "evil-session"
    assert "evil" not in str(first.get("traceparent", ""))
    assert not any("\r" in str(value) or "\n" in str(value) for value in first.values())


@requirement("attacks.injection")
@pytest.mark.parametrize("tool", ["note", "fail", HOSTILE])
def test_what_is_logged_begins_no_line_of_its_own(parrot: Stack, tool: str) -> None:
    with peer_of(parrot.mcp) as peer:
        peer.initialize()
        before = len(parrot.session.errors)
        assert peer.call(tool, text=HOSTILE).status == 200
        assert peer.post(notification(HOSTILE)).status == 202
        wait_until(lambda: len(parrot.session.errors) > before, "the log")
    for line in (*parrot.session.errors, *parrot.worker.errors):
        assert line.isprintable()
        assert not line.startswith("2026-01-01")
        assert not line.startswith("{") or isinstance(json.loads(line)["message"], str)
    shown = "\n".join(parrot.session.errors[before:])
    assert "forged" in shown


@requirement("attacks.injection")
def test_what_a_client_chooses_is_the_value_of_an_attribute_and_no_name(
    parrot: Stack, receiver: OtlpReceiver
) -> None:
    def of_this(spans: list[ExportedSpan]) -> list[ExportedSpan]:
        return [span for span in spans if HOSTILE in span.attributes.get("mcp.tool.name", "")]  # type: ignore[operator]

    receiver.clear()
    with peer_of(parrot.mcp) as peer:
        peer.initialize()
        assert peer.call(HOSTILE, **{HOSTILE: HOSTILE}).status == 200
    spans = receiver.wait_for(lambda spans: bool(of_this(spans)), 15, "the request's span")
    (span,) = of_this(spans)
    assert span.name == "mcp.request"
    assert all(re.fullmatch(r"[a-z0-9_.]+", name) for name in span.attributes)


@requirement("attacks.header-names")
def test_many_names_of_headers_take_a_bounded_place(parrot: Stack, receiver: OtlpReceiver) -> None:
    receiver.clear()
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [a + b + c for a in letters for b in letters for c in letters][:15_000]
    head = b"GET /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    before = resident_bytes(parrot.worker)

    def status_with(number: int, names: list[str]) -> int:
        own = b"zzz%d:\r\n" % number  # no two requests have the same names
        fields = "".join(f"{name}:\r\n" for name in names).encode()
        (response,) = read_responses(sent_raw(parrot.mcp, [head + own + fields + b"\r\n"]))
        return response.status

    assert {status_with(number, names) for number in range(60)} == {431}
    assert {status_with(number, names[:90]) for number in range(60)} == {400}
    assert resident_bytes(parrot.worker) - before < 32 * 1024 * 1024  # it once was 75 MiB

    def refused(spans: list[ExportedSpan]) -> list[ExportedSpan]:
        return [span for span in spans if span.attributes.get("error.type") == "400"]

    spans = receiver.wait_for(lambda spans: bool(refused(spans)), 15, "a span")
    for span in refused(spans):
        shown = span.attributes["mcp.http.header.names"]
        assert isinstance(shown, tuple)
        assert len(shown) <= 64
