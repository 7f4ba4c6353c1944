"""The ladder of MCP 2026-07-28 says what the MCP SDK's says: the same code, words, data and status.

The worker does not load the SDK (docs/decisions/0039-worker-without-the-sdk.md); this loads both.
"""

import json
from base64 import b64encode
from typing import Any, cast

import mcp_types as sdk_types
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mcp.shared import inbound as sdk
from mcp_types import jsonrpc as sdk_codes
from mcp_types import version as sdk_versions
from tests.requirements import requirement

from linkspan_contract import envelope, versions
from linkspan_contract.envelope import Request
from linkspan_worker import mcp_headers, modern
from linkspan_worker.failures import Refusal
from linkspan_worker.headers import Headers
from linkspan_worker.mcp_headers import decode_header_value, duplicated_routing_header
from linkspan_worker.modern import refuse_request, refuse_routing, refuse_version

Pair = tuple[str, str]

VERSION = "2026-07-28"
ENVELOPE: dict[str, Any] = {modern.VERSION_KEY: VERSION, modern.CAPABILITIES_KEY: {}}

METHODS = ("tools/call", "prompts/get", "resources/read", "tools/list", "tasks/get", "a", "")
VALUES = ("add", "=?base64?YWRk?=", "é", "=?base64?w6k=?=", "=?base64?w6l=?=", "7", "", VERSION)
WRAPPED = [
    ("not-wrapped", "add"),
    ("empty", ""),
    ("wrapped", "=?base64?YWRk?="),
    ("wrapped-nothing", "=?base64??="),
    ("wrapped-unicode", "=?base64?w6k=?="),
    ("wrapped-a-wrapped-one", f"=?base64?{b64encode(b'=?base64?YWRk?=').decode()}?="),
    ("upper-case-word", "=?BASE64?YWRk?="),
    ("marks-that-overlap", "=?base64?="),
    ("no-end", "=?base64?YWRk"),
    ("white-space-before", " =?base64?YWRk?="),
    ("white-space-inside", "=?base64?YW Rk?="),
    ("white-space-after", "=?base64?YWRk?=\n"),
    ("line-end-inside", "=?base64?YWRk\n?="),
    ("no-padding", "=?base64?YQ?="),
    ("padding-too-much", "=?base64?YWRk=?="),
    ("padding-inside", "=?base64?YQ==YQ==?="),
    ("not-canonical", "=?base64?YR==?="),
    ("url-alphabet", "=?base64?_-8=?="),
    ("not-utf-8", "=?base64?/w==?="),
    ("half-a-surrogate-pair", "=?base64?7aCA?="),
    ("a-mark-inside", "=?base64?YQ==?=?="),
]


def headers_of(pairs: list[Pair]) -> Headers:
    return Headers([(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs])


def by_sdk(request: Request, pairs: list[Pair]) -> Refusal | None:
    """Return what the SDK's servers would say."""
    headers = headers_of(pairs)
    body = {"method": request.method, "params": request.params}
    verdict = sdk.classify_inbound_request(body, headers=dict(headers.pairs()))
    return refusal_of(verdict) if isinstance(verdict, sdk.InboundLadderRejection) else None


def refusal_of(rejection: sdk.InboundLadderRejection) -> Refusal:
    code = rejection.code
    status = sdk.ERROR_CODE_HTTP_STATUS[code]
    return Refusal(status, code, rejection.message, str(code), data=rejection.data)


def sent(method: str = "tools/list", name: str | None = None, version: str = VERSION) -> list[Pair]:
    pairs = [("mcp-protocol-version", version), ("mcp-method", method)]
    return pairs if name is None else [*pairs, ("mcp-name", name)]


def ask(method: str = "tools/list", meta: object = ENVELOPE, **params: Any) -> Request:
    return Request(7, method, {**params, "_meta": meta})


NO_ENVELOPES: tuple[object, ...] = (None, [], "x", 1, {})
CASES: list[tuple[str, Request, list[Pair]]] = [
    ("good", ask(), sent()),
    ("good-names-a-tool", ask("tools/call", name="add"), sent("tools/call", "add")),
    ("good-names-a-uri", ask("resources/read", uri="a:b"), sent("resources/read", "a:b")),
    ("good-wrapped", ask("prompts/get", name="é"), sent("prompts/get", "=?base64?w6k=?=")),
    ("no-params", Request(7, "tools/list", None), sent()),
    ("no-meta", Request(7, "tools/list", {}), sent()),
    *((f"meta-{json.dumps(meta)}", ask(meta=meta), sent()) for meta in NO_ENVELOPES),
    ("no-capabilities", ask(meta={modern.VERSION_KEY: VERSION}), sent()),
    ("no-version", ask(meta={modern.CAPABILITIES_KEY: {}}), sent()),
    ("capabilities-null", ask(meta={**ENVELOPE, modern.CAPABILITIES_KEY: None}), sent()),
    ("version-null", ask(meta={**ENVELOPE, modern.VERSION_KEY: None}), sent()),
    ("version-null-and-no-header", ask(meta={**ENVELOPE, modern.VERSION_KEY: None}), []),
    ("version-a-number", ask(meta={**ENVELOPE, modern.VERSION_KEY: 7}), sent(version="7")),
    ("version-unknown", ask(meta={**ENVELOPE, modern.VERSION_KEY: "x"}), sent(version="x")),
    ("version-empty", ask(meta={**ENVELOPE, modern.VERSION_KEY: ""}), sent(version="")),
    (
        "version-of-the-other-family",
        ask(meta={**ENVELOPE, modern.VERSION_KEY: "2025-11-25"}),
        sent(version="2025-11-25"),
    ),
    ("version-header-differs", ask(), sent(version="2027-01-01")),
    ("version-unknown-and-method-differs", ask("a", {**ENVELOPE, modern.VERSION_KEY: "x"}), sent()),
    ("version-header-missing", ask(), sent()[1:]),
    ("method-header-missing", ask(), sent()[:1]),
    ("method-header-differs", ask(), sent("tools/call")),
    ("method-header-of-other-case", ask(), sent("Tools/List")),
    ("name-differs", ask("tools/call", name="add"), sent("tools/call", "echo")),
    ("name-missing", ask("tools/call", name="add"), sent("tools/call")),
    ("name-empty", ask("tools/call", name=""), sent("tools/call")),
    ("name-null", ask("tools/call", name=None), sent("tools/call", "add")),
    ("name-not-there", ask("tools/call"), sent("tools/call", "add")),
    ("name-a-number", ask("tools/call", name=7), sent("tools/call", "7")),
    ("name-a-list", ask("tools/call", name=["add"]), sent("tools/call", "add")),
    ("name-not-canonical", ask("tools/call", name="a"), sent("tools/call", "=?base64?YR==?=")),
    ("name-for-a-method-without", ask("tools/list", name="a"), sent("tools/list", "b")),
    (
        "name-differs-and-version-unknown",
        ask("tools/call", {**ENVELOPE, modern.VERSION_KEY: "x"}, name="add"),
        sent("tools/call", "echo", version="x"),
    ),
    ("the-last-of-two-counts", ask(), [*sent("tools/call"), ("Mcp-Method", "tools/list")]),
]


@requirement("modern.envelope", "modern.headers", "modern.version")
@pytest.mark.parametrize(("request_", "pairs"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_request_gets_what_the_sdk_says(request_: Request, pairs: list[Pair]) -> None:
    ours = refuse_request(request_, headers_of(pairs))
    assert ours == by_sdk(request_, pairs)
    if ours is not None:  # in the same order, too
        theirs = by_sdk(request_, pairs)
        assert theirs is not None
        assert json.dumps(ours.data) == json.dumps(theirs.data)


ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.sampled_from(([], {}))
)
WORDS = st.sampled_from(VALUES) | st.text(st.characters(max_codepoint=255), max_size=4)
SHAPES: dict[str, st.SearchStrategy[Any]] = {key: st.just(value) for key, value in ENVELOPE.items()}
METAS: st.SearchStrategy[Any] = st.one_of(
    st.just(ENVELOPE),
    st.fixed_dictionaries({}, optional={modern.VERSION_KEY: ODD, modern.CAPABILITIES_KEY: ODD}),
    st.fixed_dictionaries({**SHAPES, modern.VERSION_KEY: WORDS | ODD}),
    ODD,
)
PARAMS: st.SearchStrategy[Any] = st.none() | st.fixed_dictionaries(
    {}, optional={"_meta": METAS, "name": WORDS | ODD, "uri": WORDS | ODD}
)


@st.composite
def requests_with_headers(draw: st.DrawFn) -> tuple[Request, list[Pair]]:
    """Return a request, and headers most of which agree with it."""
    request = Request(7, draw(st.sampled_from(METHODS)), draw(PARAMS))
    params = request.params or {}
    meta: object = params.get("_meta")
    envelope_: dict[str, Any] = cast("dict[str, Any]", meta) if isinstance(meta, dict) else ENVELOPE
    rights: tuple[tuple[str, object], ...] = (
        ("mcp-protocol-version", envelope_.get(modern.VERSION_KEY)),
        ("mcp-method", request.method),
        ("mcp-name", params.get(modern.NAMED_BY.get(request.method, "name"))),
    )
    pairs: list[Pair] = []
    for name, right in rights:
        match draw(st.sampled_from(("right", "right", "right", "wrapped", "any", "none"))):
            case "right" if isinstance(right, str) and right.isascii():
                pairs.append((name, right))
            case "wrapped" if isinstance(right, str):
                pairs.append((name, sdk.encode_header_value(right)))
            case "none":
                pass
            case _:
                pairs.append((name, draw(WORDS)))
    return request, pairs


@requirement("modern.envelope", "modern.headers", "modern.version")
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(requests_with_headers())
def test_any_request_gets_what_the_sdk_says(case: tuple[Request, list[Pair]]) -> None:
    request, pairs = case
    if request.method.startswith("tasks/"):
        return  # the SDK's ladder does not know them
    assert refuse_request(request, headers_of(pairs)) == by_sdk(request, pairs)


@requirement("tasks.headers")
def test_a_task_is_compared_after_all_that_the_sdk_compares() -> None:
    unknown = ask("tasks/get", {**ENVELOPE, modern.VERSION_KEY: "x"}, taskId="t")
    pairs = sent("tasks/get", "u", version="x")
    assert refuse_request(unknown, headers_of(pairs)) == by_sdk(unknown, pairs)
    refused = refuse_request(ask("tasks/get", taskId="t"), headers_of(sent("tasks/get", "u")))
    assert refused is not None
    assert (refused.status, refused.code) == (400, sdk_codes.HEADER_MISMATCH)
    assert refused.message == "mcp-name header does not match the request body's 'taskId'"
    assert refuse_request(ask("tasks/get", taskId="t"), headers_of(sent("tasks/get", "t"))) is None
    assert refuse_request(ask("tasks/get"), headers_of(sent("tasks/get", "t"))) is None


@pytest.mark.parametrize("value", [w[1] for w in WRAPPED], ids=[w[0] for w in WRAPPED])
def test_a_value_is_read_as_the_sdk_reads_it(value: str) -> None:
    assert decode_header_value(value) == sdk.decode_header_value(value)


def test_a_value_that_was_not_sent_is_none() -> None:
    assert decode_header_value(None) is None


def test_what_is_wrapped_in_other_than_ascii_is_no_value() -> None:
    """The SDK's reader raises a ValueError here, of which a server makes 500."""
    assert decode_header_value("=?base64?é?=") is None


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.text(st.sampled_from("=?base64Yw/+ \n-_\x7f"), max_size=16), st.booleans())
@example("YWRk", True)
def test_any_value_is_read_as_the_sdk_reads_it(text: str, wrapped: bool) -> None:
    value = f"=?base64?{text}?=" if wrapped else text
    assert decode_header_value(value) == sdk.decode_header_value(value)


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
@example("=?base64?YWRk?=")
@example(" add ")
def test_what_the_sdks_clients_write_is_read(text: str) -> None:
    assert decode_header_value(sdk.encode_header_value(text)) == text


NAMES = ("Mcp-Method", "mcp-method", "MCP-Protocol-Version", "mcp-name", "Mcp-Session-Id", "accept")


@requirement("modern.headers")
@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(("a", "b"))), max_size=7))
@example([("mcp-name", "a"), ("mcp-method", "a"), ("Mcp-Method", "b"), ("mcp-name", "a")])
def test_the_same_duplicate_is_found_as_by_the_sdk(pairs: list[Pair]) -> None:
    found = sdk.find_duplicated_routing_header(pairs)
    assert duplicated_routing_header(headers_of(pairs)) == found
    refused = refuse_routing(headers_of(pairs))
    assert (refused is None) is (found is None)
    if refused is not None:
        assert refused.message == f"{found} came more than once"
        assert (refused.status, refused.code) == (400, sdk_codes.HEADER_MISMATCH)


@requirement("modern.version")
@pytest.mark.parametrize("version", [*sdk_versions.KNOWN_PROTOCOL_VERSIONS, "", "x", "2026-07-29"])
def test_a_version_is_refused_as_by_the_sdk(version: str) -> None:
    rejection = sdk.unsupported_protocol_version_rejection(version)
    ours = refuse_version(headers_of([("mcp-protocol-version", version)]))
    assert ours == (None if rejection is None else refusal_of(rejection))
    if version == "":
        assert refuse_version(headers_of([])) == ours


def test_each_constant_is_the_sdks() -> None:
    assert versions.HANDSHAKE_VERSIONS == sdk_versions.HANDSHAKE_PROTOCOL_VERSIONS
    assert versions.MODERN_VERSIONS == sdk_versions.MODERN_PROTOCOL_VERSIONS
    assert mcp_headers.VERSION_HEADER == sdk.MCP_PROTOCOL_VERSION_HEADER
    assert mcp_headers.METHOD_HEADER == sdk.MCP_METHOD_HEADER
    assert mcp_headers.NAME_HEADER == sdk.MCP_NAME_HEADER
    assert modern.VERSION_KEY == sdk_types.PROTOCOL_VERSION_META_KEY
    assert modern.CAPABILITIES_KEY == sdk_types.CLIENT_CAPABILITIES_META_KEY
    assert modern.NAMED_BY == sdk.NAME_BEARING_METHODS
    assert modern.STATUS_BY_CODE == sdk.ERROR_CODE_HTTP_STATUS
    assert modern.HEADER_MISMATCH == sdk_codes.HEADER_MISMATCH
    assert modern.MISSING_CAPABILITY == sdk_codes.MISSING_REQUIRED_CLIENT_CAPABILITY
    assert modern.UNSUPPORTED_VERSION == sdk_codes.UNSUPPORTED_PROTOCOL_VERSION
    for name in (
        "PARSE_ERROR",
        "INVALID_REQUEST",
        "METHOD_NOT_FOUND",
        "INVALID_PARAMS",
        "INTERNAL_ERROR",
        "REQUEST_TIMEOUT",
    ):
        assert getattr(envelope, name) == getattr(sdk_codes, name)
