"""What the worker makes of HTTP, in both eras: refusals, one body or a stream, liveness, health."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.requirements import requirement
from tests.support.peer import Peer, modern, modern_headers, peer_of, request, sent_by_hand
from tests.support.stack import Stack

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
LIMIT = 4 * 1024 * 1024

INITIALIZE = json.dumps(
    request(
        "initialize",
        {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "c", "version": "1"},
        },
    )
).encode()


def padded(size: int) -> bytes:
    """A message of exactly so many bytes, in no session."""
    message = b'{"jsonrpc":"2.0","id":1,"method":"ping"'
    return message + b" " * (size - len(message) - 1) + b"}"


def in_chunks(body: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


# --- what is refused -------------------------------------------------------------------------------


@requirement("http.not-json")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"hello",
        b'{"a":NaN}',
        b"\xff\xfe",
        INITIALIZE.decode().encode("utf-16"),
        b"\xef\xbb\xbf" + INITIALIZE,
        b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}',
        b"[" * 100_000,
    ],
    ids=["empty", "cut", "text", "nan", "binary", "utf-16", "bom", "surrogate", "deep"],
)
def test_a_body_that_is_not_json_gets_400(peer: Peer, body: bytes) -> None:
    answer = peer.send("POST", body)
    assert (answer.status, answer.code, answer.final["id"]) == (400, PARSE_ERROR, None)


@requirement("http.not-json-rpc")
@pytest.mark.parametrize(
    ("message", "answered_id"),
    [
        ("{}", None),
        ("7", None),
        ("null", None),
        ('{"jsonrpc":"2.0","id":7}', 7),
        ('{"jsonrpc":"1.0","id":"a","method":"ping"}', "a"),
        ('{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}', 7),
        ('{"jsonrpc":"2.0","id":true,"method":"ping"}', None),
        ('{"jsonrpc":"2.0","id":null,"method":"ping"}', None),
    ],
)
def test_json_that_is_no_message_gets_400(session: Peer, message: str, answered_id: object) -> None:
    answer = session.send("POST", message.encode())
    assert (answer.status, answer.code) == (400, INVALID_REQUEST)
    assert answer.final["id"] == answered_id


@requirement("http.batch")
def test_a_batch_gets_400(peer: Peer) -> None:
    answer = peer.send("POST", b"[" + INITIALIZE + b"]")
    assert (answer.status, answer.code) == (400, INVALID_REQUEST)
    assert "batch" in answer.error["message"]


@requirement("http.content-type")
@pytest.mark.parametrize("content_type", [None, "text/plain", "application/json;charset=utf-16"])
def test_a_post_that_is_not_json_gets_415(peer: Peer, content_type: str | None) -> None:
    answer = peer.send("POST", INITIALIZE, headers={"content-type": content_type})
    assert (answer.status, answer.code) == (415, INVALID_REQUEST)


@requirement("http.accept")
@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "*/*;q=0"])
def test_a_post_that_accepts_no_answer_gets_406(peer: Peer, accept: str) -> None:
    answer = peer.send("POST", INITIALIZE, headers={"accept": accept})
    assert (answer.status, answer.code) == (406, INVALID_REQUEST)


@requirement("http.accept")
def test_listening_without_accepting_a_stream_gets_406(session: Peer) -> None:
    answer = session.send("GET", headers={"accept": "application/json"})
    assert (answer.status, answer.code) == (406, INVALID_REQUEST)


@requirement("http.too-large")
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_over_the_limit_gets_413_and_the_connection_goes_on(
    stack: Stack, declared: bool
) -> None:
    with peer_of(stack.mcp) as peer:
        for size, status in ((LIMIT, 400), (LIMIT + 1, 413), (2 * LIMIT, 413), (100, 400)):
            body = padded(size)
            answer = peer.send("POST", body if declared else in_chunks(body, 64 * 1024))
            assert (answer.status, answer.code) == (status, INVALID_REQUEST), size


@requirement("http.too-large")
def test_a_declared_body_over_the_limit_is_refused_before_it_is_sent(stack: Stack) -> None:
    with sent_by_hand(stack.mcp, {"content-length": str(LIMIT + 1)}) as connection:
        assert connection.recv(64).startswith(b"HTTP/1.1 413 ")


def test_a_body_in_many_chunks_is_read_whole(stack: Stack) -> None:
    with peer_of(stack.mcp) as peer:
        answer = peer.send("POST", in_chunks(INITIALIZE, 1))
        assert answer.status == 200
        assert answer.result["serverInfo"]["name"] == "everything"


def test_a_client_that_leaves_while_it_sends_does_no_harm(stack: Stack, peer: Peer) -> None:
    for _ in range(20):
        with sent_by_hand(stack.mcp, {"content-length": "1000"}, b'{"jsonrpc"'):
            pass
    assert peer.initialize().status == 200
    assert not any("Traceback" in line for line in stack.worker.errors)


@requirement("http.method")
@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "TRACE"])
def test_another_method_gets_405_and_is_told_which_there_are(peer: Peer, method: str) -> None:
    answer = peer.send(method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, POST, DELETE, OPTIONS"


@requirement("http.options")
def test_options_tells_what_there_is(peer: Peer) -> None:
    answer = peer.send("OPTIONS")
    assert (answer.status, answer.messages) == (204, [])
    assert answer.headers["allow"] == "GET, POST, DELETE, OPTIONS"


@requirement("http.path")
@pytest.mark.parametrize("path", ["/", "/mcp2", "/mcp/x", "/MCP", "/.well-known/x"])
def test_another_path_gets_404(stack: Stack, peer: Peer, path: str) -> None:
    assert peer.http.post(stack.http + path, content=INITIALIZE).status_code == 404


def test_a_slash_at_the_end_is_the_same_path(stack: Stack) -> None:
    with peer_of(stack.mcp + "/") as peer:
        assert peer.initialize().status == 200


# --- one body or a stream --------------------------------------------------------------------------


@requirement("http.json-or-stream")
def test_an_answer_with_nothing_before_it_is_one_json_body(session: Peer) -> None:
    answer = session.call("add", a=2, b=3)
    assert answer.headers["content-type"] == "application/json"
    assert answer.result["structuredContent"] == {"result": 5}
    assert not answer.is_stream


@requirement("http.json-or-stream")
def test_an_answer_with_something_before_it_is_a_stream_as_it_comes(prober: Peer) -> None:
    held = request("probe/talk", {"count": 3, "_meta": {"progressToken": "t"}})
    answer = prober.post(held)
    assert answer.is_stream
    assert [each.get("method") for each in answer.messages] == [
        "notifications/progress",
        "notifications/progress",
        "notifications/progress",
        None,
    ]
    assert [each["params"]["progress"] for each in answer.messages[:-1]] == [0, 1, 2]
    assert answer.result == {"told": 3}


@requirement("http.json-or-stream")
def test_in_the_modern_era_too(probe: Stack) -> None:
    with peer_of(probe.mcp) as peer:
        assert not peer.ask_modern("probe/say", {"text": "hi"}).is_stream
        params = {"count": 2, "_meta": {"progressToken": "t"}}
        answer = peer.ask_modern("probe/talk", params)
        assert answer.is_stream
        assert [each.get("method") for each in answer.messages[:-1]] == (
            ["notifications/progress"] * 2
        )
        assert answer.result["told"] == 2


JSON_ONLY = {"accept": "application/json"}


@requirement("http.json-only")
def test_a_client_of_json_gets_the_answer_and_nothing_before_it(prober: Peer) -> None:
    params = {"count": 3, "_meta": {"progressToken": "t"}}
    answer = prober.post(request("probe/talk", params), headers=JSON_ONLY)
    assert not answer.is_stream
    assert answer.messages == [{"jsonrpc": "2.0", "id": 1, "result": {"told": 3}}]


@requirement("http.json-only")
def test_a_client_of_json_cannot_be_asked_and_does_not_hang(prober: Peer) -> None:
    answer = prober.post(request("probe/ask", {"text": "your name?"}), headers=JSON_ONLY)
    assert answer.status == 200
    assert not answer.is_stream
    assert answer.code == INVALID_REQUEST


@requirement("http.json-only")
def test_a_client_of_json_waits_in_silence(probe: Stack, prober: Peer) -> None:
    name, clock = "silence", "silence clock"
    with (
        ThreadPoolExecutor(1) as threads,
        peer_of(probe.mcp, session_id=prober.session_id) as other,
    ):
        hold = request("probe/hold", {"name": name})
        answering = threads.submit(prober.post, hold, headers=JSON_ONLY)
        with other.stream(request("probe/hold", {"name": clock})) as ticking:
            for _ in range(3):
                ticking.comment()
        with peer_of(probe.mcp, session_id=prober.session_id) as releaser:
            for each in (name, clock):
                releaser.ask("probe/release", {"name": each})
        answer = answering.result(timeout=30)
        assert (answer.is_stream, answer.result) == (False, {"held": name})


STREAM_ONLY = {"accept": "text/event-stream"}


@requirement("http.stream-only")
@pytest.mark.parametrize("method", ["probe/say", "no/such"])
def test_a_client_of_streams_gets_a_stream_of_one(prober: Peer, method: str) -> None:
    answer = prober.post(request(method, {"text": "hi"}), headers=STREAM_ONLY)
    assert (answer.status, answer.is_stream) == (200, True)
    assert len(answer.messages) == 1


@requirement("http.stream-only")
def test_a_client_of_streams_of_the_modern_era_too(probe: Stack) -> None:
    with peer_of(probe.mcp) as peer:
        message = modern("probe/say", {"text": "hi"})
        answer = peer.post(message, headers={**modern_headers(message), **STREAM_ONLY})
        assert answer.is_stream
        assert answer.result["text"] == "hi"


@requirement("http.liveness")
def test_a_silent_stream_carries_comments(probe: Stack, prober: Peer) -> None:
    with prober.stream(request("probe/hold", {"name": "liveness"})) as stream:
        assert stream.response.headers["content-type"] == "text/event-stream"
        with peer_of(probe.mcp, session_id=prober.session_id) as other:
            for _ in range(3):
                stream.comment()
            other.ask("probe/release", {"name": "liveness"})
        answer = stream.rest()
    assert answer.result == {"held": "liveness"}
    assert answer.comments >= 3


@requirement("http.liveness")
def test_a_silent_listening_stream_carries_comments(prober: Peer) -> None:
    with prober.listen() as stream:
        for _ in range(2):
            stream.comment()


@pytest.mark.parametrize(
    "text",
    [
        "\u2028 \u2029 \x85",
        "line\nline\r\nline\rline",
        "\x00\x1f\x7f",
        "data: x\n\n",
        "é€😀",
        "\ufeff",
    ],
    ids=["separators", "lines", "controls", "like-an-event", "unicode", "bom"],
)
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_any_text_arrives_as_it_was_said(prober: Peer, text: str, accept: str) -> None:
    answer = prober.post(request("probe/say", {"text": text}), headers={"accept": accept})
    assert answer.result == {"text": text}


@pytest.mark.parametrize("id", [0, -1, 2**53, 2**64, 10**400, "", "a", "é\u2028", "1" * 1000])
def test_any_id_is_answered_as_it_was_sent(prober: Peer, id: Any) -> None:  # noqa: A002
    assert prober.post(request("probe/say", {"text": ""}, id=id)).final["id"] == id
    assert prober.post(request("no/such", id=id)).final["id"] == id


# --- health ----------------------------------------------------------------------------------------


@requirement("http.health")
def test_a_worker_with_a_session_server_is_alive_and_ready(stack: Stack, peer: Peer) -> None:
    for path, status in (("/healthz", "alive"), ("/readyz", "ready")):
        response = peer.http.get(stack.http + path)
        assert (response.status_code, response.json()) == (200, {"status": status})
