"""The ladder that every request climbs: which rung refuses it, and with which words of the spec."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from linkspan_contract.envelope import INVALID_REQUEST, PARSE_ERROR, encode, parse_envelope
from linkspan_contract.limits import MAX_MESSAGE_BYTES
from linkspan_worker.admission import (
    Alone,
    Era,
    InSession,
    Opening,
    RefusedError,
    admit_end,
    admit_listen,
    admit_post,
    check_post_headers,
    era_of,
    http_status_of_error,
    method_not_allowed,
    read_body,
    too_large,
)
from linkspan_worker.headers import Accepted, Headers

INVALID_PARAMS = -32602
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022

VERSION = "mcp-protocol-version"
SESSION = "mcp-session-id"
JSON_BODY = ("content-type", "application/json")

ENVELOPE: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
MODERN = (VERSION, "2026-07-28")


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers([(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs])


def call(method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 7, "method": method}
    return message if params is None else {**message, "params": params}


def enveloped(method: str, **params: Any) -> dict[str, Any]:
    return call(method, {**params, "_meta": ENVELOPE})


NOTIFICATION: dict[str, Any] = {"jsonrpc": "2.0", "method": "notifications/initialized"}
RESPONSE: dict[str, Any] = {"jsonrpc": "2.0", "id": 7, "result": {}}


@dataclass(frozen=True)
class Posted:
    """A POST and what becomes of it.

    Attributes:
        name: What the case is called.
        message: The message.
        pairs: The headers that matter.
        admitted: The kind of message that it is admitted as; None if it is refused.
        status: The HTTP status of the refusal.
        code: The JSON-RPC code of the refusal.
        id: The id that the refusal answers to.
    """

    name: str
    message: dict[str, Any]
    pairs: tuple[tuple[str, str], ...] = field(default=())
    admitted: object = None
    status: int = 0
    code: int = 0
    id: int | None = 7


def refused(
    name: str,
    message: dict[str, Any],
    *pairs: tuple[str, str],
    status: int,
    code: int,
    id: int | None = 7,  # noqa: A002 - JSON-RPC's word
) -> Posted:
    return Posted(name, message, pairs, status=status, code=code, id=id)


def admitted(kind: object, name: str, message: dict[str, Any], *pairs: tuple[str, str]) -> Posted:
    return Posted(name, message, pairs, admitted=kind)


POSTS = [
    # The handshake era
    admitted(Opening, "opens", call("initialize")),
    admitted(Opening, "opens-with-a-version", call("initialize"), (VERSION, "2025-11-25")),
    admitted(InSession, "in-session", call("tools/list"), (SESSION, "s")),
    admitted(InSession, "initializes-again", call("initialize"), (SESSION, "s")),
    admitted(InSession, "notification", NOTIFICATION, (SESSION, "s")),
    admitted(InSession, "response", RESPONSE, (SESSION, "s")),
    admitted(InSession, "same-id-twice", call("x"), (SESSION, "s"), (SESSION, "s")),
    admitted(InSession, "unknown-method", call("no/such"), (SESSION, "s")),
    *(
        admitted(InSession, f"version-{version}", call("x"), (VERSION, version), (SESSION, "s"))
        for version in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
    ),
    refused("no-session", call("tools/list"), status=400, code=INVALID_REQUEST),
    refused("no-session-notification", NOTIFICATION, status=400, code=INVALID_REQUEST, id=None),
    refused("no-session-response", RESPONSE, status=400, code=INVALID_REQUEST, id=None),
    refused(
        "initialize-as-notification",
        {"jsonrpc": "2.0", "method": "initialize"},
        status=400,
        code=INVALID_REQUEST,
        id=None,
    ),
    refused(
        "two-sessions",
        call("tools/list"),
        (SESSION, "s"),
        (SESSION, "t"),
        status=400,
        code=INVALID_REQUEST,
    ),
    *(
        refused("impossible-session", call("x"), (SESSION, value), status=404, code=INVALID_REQUEST)
        for value in ("", "a b", "é", "x" * 129)
    ),
    # 2026-07-28
    admitted(Alone, "alone", enveloped("tools/list"), MODERN, ("mcp-method", "tools/list")),
    admitted(
        Alone,
        "alone-with-a-name",
        enveloped("tools/call", name="add"),
        MODERN,
        ("mcp-method", "tools/call"),
        ("mcp-name", "add"),
    ),
    admitted(
        Alone,
        "session-header-is-ignored",
        enveloped("tools/list"),
        MODERN,
        ("mcp-method", "tools/list"),
        (SESSION, "s"),
        (SESSION, "t"),
    ),
    admitted(Alone, "notification-alone", NOTIFICATION, MODERN),
    refused("response-alone", RESPONSE, MODERN, status=400, code=INVALID_REQUEST, id=None),
    refused(
        "unknown-version",
        call(
            "tools/list",
            {"_meta": {**ENVELOPE, "io.modelcontextprotocol/protocolVersion": "2030-01-01"}},
        ),
        (VERSION, "2030-01-01"),
        ("mcp-method", "tools/list"),
        status=400,
        code=UNSUPPORTED_VERSION,
    ),
    refused(
        "unknown-version-notification",
        NOTIFICATION,
        (VERSION, "2030-01-01"),
        status=400,
        code=UNSUPPORTED_VERSION,
        id=None,
    ),
    refused("no-envelope", call("tools/list"), MODERN, status=400, code=INVALID_PARAMS),
    refused(
        "half-an-envelope",
        call("tools/list", {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}),
        MODERN,
        status=400,
        code=INVALID_PARAMS,
    ),
    refused("meta-a-list", call("x", {"_meta": []}), MODERN, status=400, code=INVALID_PARAMS),
    refused("no-method-header", enveloped("x"), MODERN, status=400, code=HEADER_MISMATCH),
    refused(
        "another-method",
        enveloped("tools/list"),
        MODERN,
        ("mcp-method", "tools/call"),
        status=400,
        code=HEADER_MISMATCH,
    ),
    refused(
        "another-name",
        enveloped("tools/call", name="add"),
        MODERN,
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
        status=400,
        code=HEADER_MISMATCH,
    ),
    refused(
        "no-name",
        enveloped("tools/call", name="add"),
        MODERN,
        ("mcp-method", "tools/call"),
        status=400,
        code=HEADER_MISMATCH,
    ),
    refused(
        "another-version-in-the-header",
        enveloped("tools/list"),
        (VERSION, "2030-01-01"),
        ("mcp-method", "tools/list"),
        status=400,
        code=HEADER_MISMATCH,
    ),
    refused(
        "method-header-twice",
        enveloped("tools/list"),
        MODERN,
        ("mcp-method", "tools/list"),
        ("mcp-method", "tools/list"),
        status=400,
        code=HEADER_MISMATCH,
    ),
]


@pytest.mark.parametrize("case", POSTS, ids=lambda case: case.name)
def test_a_post_is_admitted_or_refused(case: Posted) -> None:
    envelope = parse_envelope(encode(case.message))
    if case.status == 0:
        post = admit_post(envelope, headers(*case.pairs))
        assert type(post) is case.admitted
        return
    with pytest.raises(RefusedError) as error:
        admit_post(envelope, headers(*case.pairs))
    refusal = error.value.refusal
    assert (refusal.status, refusal.code) == (case.status, case.code)
    assert error.value.request_id == case.id
    assert refusal.message


def test_an_unsupported_version_is_told_which_are_supported() -> None:
    with pytest.raises(RefusedError) as error:
        admit_post(parse_envelope(encode(NOTIFICATION)), headers((VERSION, "1")))
    assert error.value.refusal.data == {"supported": ["2026-07-28"], "requested": "1"}


@pytest.mark.parametrize(
    ("pairs", "era"),
    [
        ((), Era.HANDSHAKE),
        (((VERSION, "2025-11-25"),), Era.HANDSHAKE),
        (((VERSION, "2024-11-05"),), Era.HANDSHAKE),
        (((VERSION, "2026-07-28"),), Era.MODERN),
        (((VERSION, "2025-11-24"),), Era.MODERN),
        (((VERSION, ""),), Era.MODERN),
    ],
)
def test_the_header_alone_decides_the_era(pairs: tuple[tuple[str, str], ...], era: Era) -> None:
    assert era_of(headers(*pairs)) is era


@pytest.mark.parametrize(
    ("pairs", "status"),
    [
        ((("accept", "text/html"), JSON_BODY), 406),
        ((("accept", "application/json;q=0"), JSON_BODY), 406),
        ((("accept", "text/html"), ("content-type", "text/plain")), 406),
        ((), 415),
        ((("content-type", "text/plain"),), 415),
        ((("content-type", "application/json; charset=utf-16"),), 415),
        ((JSON_BODY, ("content-length", str(MAX_MESSAGE_BYTES + 1))), 413),
    ],
)
def test_headers_of_a_post_are_refused(pairs: tuple[tuple[str, str], ...], status: int) -> None:
    with pytest.raises(RefusedError) as error:
        check_post_headers(headers(*pairs))
    assert (error.value.refusal.status, error.value.refusal.code) == (status, INVALID_REQUEST)


@pytest.mark.parametrize(
    ("pairs", "accepted"),
    [
        ((JSON_BODY,), Accepted(json=True, event_stream=True)),
        (
            (JSON_BODY, ("accept", "application/json")),
            Accepted(json=True, event_stream=False),
        ),
        (
            (JSON_BODY, ("accept", "text/event-stream")),
            Accepted(json=False, event_stream=True, prefers_stream=True),
        ),
        (
            (JSON_BODY, ("content-length", str(MAX_MESSAGE_BYTES))),
            Accepted(json=True, event_stream=True),
        ),
    ],
)
def test_headers_of_a_post_say_what_the_client_takes(
    pairs: tuple[tuple[str, str], ...], accepted: Accepted
) -> None:
    assert check_post_headers(headers(*pairs)) == accepted


@pytest.mark.parametrize(
    ("body", "code", "request_id"),
    [
        (b"{", PARSE_ERROR, None),
        (b"[]", INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":7,"method":1}', INVALID_REQUEST, 7),
    ],
)
def test_a_body_that_is_no_message_is_refused(
    body: bytes, code: int, request_id: int | None
) -> None:
    with pytest.raises(RefusedError) as error:
        read_body(body, Headers([]))
    assert (error.value.refusal.status, error.value.refusal.code) == (400, code)
    assert error.value.request_id == request_id


STREAM = ("accept", "text/event-stream")


@pytest.mark.parametrize(
    ("pairs", "status"),
    [
        ((STREAM,), 400),
        ((STREAM, (SESSION, "s"), (SESSION, "t")), 400),
        ((STREAM, (SESSION, "a b")), 404),
        ((("accept", "application/json"), (SESSION, "s")), 406),
        ((STREAM, (SESSION, "s"), MODERN), 405),
    ],
)
def test_listening_is_refused(pairs: tuple[tuple[str, str], ...], status: int) -> None:
    with pytest.raises(RefusedError) as error:
        admit_listen(headers(*pairs))
    assert error.value.refusal.status == status


def test_listening_names_its_session() -> None:
    assert admit_listen(headers((SESSION, "s"))) == "s"
    assert admit_listen(headers(STREAM, (SESSION, "s"), (VERSION, "2025-06-18"))) == "s"


@pytest.mark.parametrize(
    ("pairs", "status"),
    [((), 400), (((SESSION, ""),), 404), (((SESSION, "s"), MODERN), 405)],
)
def test_ending_is_refused(pairs: tuple[tuple[str, str], ...], status: int) -> None:
    with pytest.raises(RefusedError) as error:
        admit_end(headers(*pairs))
    assert error.value.refusal.status == status


def test_ending_names_its_session() -> None:
    assert admit_end(headers((SESSION, "s"))) == "s"


def test_a_method_that_is_not_allowed_is_told_which_are() -> None:
    assert method_not_allowed().headers == (("allow", "GET, POST, DELETE, OPTIONS"),)
    assert method_not_allowed("POST").headers == (("allow", "POST"),)
    assert method_not_allowed().status == 405


def test_a_body_over_the_limit_is_told_the_limit() -> None:
    assert too_large().status == 413
    assert str(MAX_MESSAGE_BYTES) in too_large().message


@pytest.mark.parametrize(
    ("era", "code", "status"),
    [
        (Era.HANDSHAKE, -32601, 200),
        (Era.HANDSHAKE, -32602, 200),
        (Era.HANDSHAKE, -32603, 200),
        (Era.MODERN, -32601, 404),
        (Era.MODERN, -32602, 400),
        (Era.MODERN, -32021, 400),
        (Era.MODERN, -32603, 200),
        (Era.MODERN, 42, 200),
    ],
)
def test_an_error_of_the_hosted_server_has_the_status_of_its_era(
    era: Era, code: int, status: int
) -> None:
    assert http_status_of_error(era, code) == status
