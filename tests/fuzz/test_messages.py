"""Whatever JSON, or almost JSON, comes as a message: to the parser, in a session and without one."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx2
from hypothesis import strategies as st
from tests.fuzz.conftest import TRIED
from tests.fuzz.exploring import explore
from tests.requirements import requirement
from tests.support.hostile import assert_no_internals, check_message, unharmed
from tests.support.mcp_http import events_of
from tests.support.peer import ENVELOPE, MODERN_VERSION, Peer, session_at
from tests.support.stack import Stack

from linkspan_contract.envelope import (
    Batch,
    EnvelopeError,
    Request,
    encode_error,
    parse_envelope,
    parse_message,
)

Record = Callable[[str, object], None]

TEXTS: Final = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "",
            "add",
            "echo",
            "\0",
            "\r\n\r\n",
            "\u2028",
            "\ud800",
            "A" * 5000,
            "../x",
            "test://a",
            "_meta",
        ]
    ),
)
NUMBERS: Final = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 1 << 31, 1 << 53, 1 << 63, 1 << 64, 10**400, 1e308, -0.0]),
)
SCALARS: Final[st.SearchStrategy[Any]] = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
ANYTHING: Final[st.SearchStrategy[Any]] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
METHODS: Final[st.SearchStrategy[Any]] = st.one_of(
    st.sampled_from(
        [
            "initialize",
            "ping",
            "tools/list",
            "tools/call",
            "prompts/get",
            "prompts/list",
            "resources/read",
            "resources/list",
            "resources/templates/list",
            "resources/subscribe",
            "resources/unsubscribe",
            "completion/complete",
            "logging/setLevel",
            "server/discover",
            "tasks/get",
            "tasks/cancel",
            "notifications/initialized",
            "notifications/cancelled",
            "notifications/progress",
        ]
    ),
    ANYTHING,
)
META: Final[st.SearchStrategy[Any]] = st.one_of(
    ANYTHING,
    st.dictionaries(
        st.sampled_from(["progressToken", "traceparent", "tracestate", "baggage", *ENVELOPE]),
        ANYTHING,
    ).map(lambda more: {**ENVELOPE, **more}),
)
PARAMS: Final[st.SearchStrategy[Any]] = st.one_of(
    ANYTHING,
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.one_of(st.sampled_from(["add", "echo", "test_simple_text"]), ANYTHING),
            "uri": ANYTHING,
            "arguments": st.one_of(
                ANYTHING, st.fixed_dictionaries({"a": ANYTHING, "b": ANYTHING, "text": ANYTHING})
            ),
            "_meta": META,
            "cursor": ANYTHING,
            "level": ANYTHING,
            "requestId": ANYTHING,
            "requestState": ANYTHING,
            "inputResponses": ANYTHING,
            "taskId": ANYTHING,
            "ref": ANYTHING,
            "protocolVersion": ANYTHING,
            "capabilities": ANYTHING,
            "clientInfo": ANYTHING,
        },
    ),
)
MESSAGES: Final[st.SearchStrategy[Any]] = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.one_of(st.just("2.0"), st.just("2.0"), st.just("2.0"), ANYTHING),
        "id": st.one_of(st.integers(1, 9), TEXTS, ANYTHING),
        "method": METHODS,
        "params": PARAMS,
        "result": ANYTHING,
        "error": ANYTHING,
    },
)
GOOD: Final[st.SearchStrategy[Any]] = st.fixed_dictionaries(
    {
        "jsonrpc": st.just("2.0"),
        "id": st.one_of(st.integers(), TEXTS),
        "method": METHODS.filter(lambda method: isinstance(method, str)),
        "params": PARAMS.filter(lambda params: isinstance(params, dict)),
    }
)
NEARLY_GOOD: Final[st.SearchStrategy[Any]] = st.tuples(
    GOOD, st.sampled_from(["jsonrpc", "id", "method", "params", "params", "result"]), ANYTHING
).map(lambda made: {**made[0], made[1]: made[2]})


def _texts(message: Any) -> st.SearchStrategy[bytes]:
    """Write a value as JSON, perhaps with a mistake in it."""
    text = json.dumps(message).encode()  # with NaN and lone surrogates, as escapes
    raw = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return st.one_of(
        st.just(text),
        st.just(raw),
        st.integers(0, len(text)).map(lambda at: text[:at]),
        st.tuples(st.integers(0, len(text)), st.binary(max_size=3)).map(
            lambda edit: text[: edit[0]] + edit[1] + text[edit[0] :]
        ),
        st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]).map(
            lambda coding: text.decode().encode(coding)
        ),
    )


BODIES: Final = st.one_of(
    st.one_of(GOOD, NEARLY_GOOD).map(lambda message: json.dumps(message).encode()),
    st.one_of(GOOD, MESSAGES, st.lists(MESSAGES, max_size=4), ANYTHING).flatmap(_texts),
    st.binary(max_size=40),
)


def refused(error: EnvelopeError) -> None:
    """Check that an error can be told."""
    assert error.code in (-32700, -32600)
    assert_no_internals(str(error))
    encode_error(error.request_id, error.code, str(error)).encode()


@requirement("fuzz.messages")
def test_the_parser_reads_a_message_or_says_why_not(record_property: Record) -> None:
    def check(body: bytes) -> int:
        for parse in (parse_envelope, parse_message):
            try:
                parsed = parse(body)
            except EnvelopeError as error:
                refused(error)
                continue
            for each in parsed.messages if isinstance(parsed, Batch) else (parsed,):
                if isinstance(each, Request):
                    encode_error(each.id, -1, "").encode()
        return 1

    record_property(TRIED, explore(BODIES, check, examples=400))


def _post(peer: Peer, body: bytes, headers: Mapping[str, str]) -> None:
    """Post a body; whatever it is, the answer is one that a client can read."""
    sent = {"content-type": "application/json", **headers}
    with peer.http.stream("POST", peer.address, content=body, headers=sent) as response:
        try:
            _check(response)
        except AssertionError as error:
            error.add_note(f"sent: {body[:3000]!r} {headers}")
            raise


def _check(response: httpx2.Response) -> None:
    kind = response.headers.get("content-type")
    if kind == "text/event-stream":
        messages = [event.json for event in events_of(response) if event.data]
    else:
        text = response.read()
        assert response.status_code < 500, text
        messages = [json.loads(text)] if text else []
    for message in messages:
        check_message(message)
        if "error" in message:
            assert_no_internals(json.dumps(message["error"].get("message")))


@requirement("fuzz.messages")
def test_a_session_outlives_any_message(target: Stack, record_property: Record) -> None:
    with unharmed(target), session_at(target.mcp) as peer:
        assert peer.session_id is not None
        headers = {
            "accept": "application/json, text/event-stream",
            "mcp-session-id": peer.session_id,
        }

        def check(body: bytes) -> int:
            _post(peer, body, headers)
            return 1

        record_property(TRIED, explore(BODIES, check, examples=200))
        assert peer.ask("ping").status == 200


def _modern(body: bytes) -> dict[str, str]:
    """Return headers that mostly go with a body of MCP 2026-07-28."""
    headers = {"mcp-protocol-version": MODERN_VERSION, "accept": "application/json"}
    try:
        message = json.loads(body)
        for header, value in (
            ("mcp-method", message["method"]),
            ("mcp-name", message["params"].get("name", message["params"].get("uri"))),
        ):
            if isinstance(value, str) and value.isascii() and value.isprintable():
                headers[header] = value[:1000].strip()
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    return headers


@requirement("fuzz.messages")
def test_a_server_without_sessions_outlives_any_message(
    target: Stack, record_property: Record
) -> None:
    with unharmed(target), session_at(target.mcp) as peer:

        def check(body: bytes) -> int:
            _post(peer, body, _modern(body))
            return 1

        record_property(TRIED, explore(BODIES, check, examples=200))
