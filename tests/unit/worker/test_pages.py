"""What browsers are told, as tables: which pages may, what they may send, what they may read."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.requirements import requirement

from linkspan_worker.headers import Headers
from linkspan_worker.pages import (
    EXPOSED_HEADERS,
    Pages,
    is_allowed_request_header,
    parse_hosts,
    parse_origins,
)

GOOD = "https://good.example"
PAGES = Pages(frozenset({GOOD, "chrome-extension://abcdefghijklmnop"}))


def fields(method: str, *headers: tuple[str, str]) -> dict[str, str]:
    """Return the headers that an answer gets, by name."""
    text = PAGES.fields(
        Headers([(name.encode(), value.encode()) for name, value in headers]), method
    )
    lines = text.split("\r\n")
    assert lines.pop() == ""
    pairs = dict(line.split(": ", 1) for line in lines)
    assert len(pairs) == len(lines), "a header comes twice"
    return pairs


def preflight(*wanted: str, origin: str = GOOD, method: str = "POST") -> dict[str, str]:
    return fields(
        "OPTIONS",
        ("origin", origin),
        ("access-control-request-method", method),
        *[("access-control-request-headers", each) for each in wanted],
    )


@requirement("cors.origins")
@pytest.mark.parametrize(
    ("origin", "named"),
    [
        (GOOD, True),
        ("chrome-extension://abcdefghijklmnop", True),
        ("http://localhost:6274", True),
        ("https://127.0.0.1", True),
        ("http://[::1]:3000", True),
        ("http://good.example", False),
        ("https://good.example:8443", False),
        ("https://good.example.evil.example", False),
        ("https://evilgood.example", False),
        ("https://GOOD.example", False),
        ("https://good.example/", False),
        ("null", False),
        ("*", False),
        ("", False),
        ("http://localhost.evil.example", False),
        ("http://localhost@evil.example", False),
        ("http://localhost:1, https://good.example", False),
        ("http://localhost\t", True),  # trimmed, as RFC 9110 has it
        ("http://local\thost", False),
        ("http://localhost/path", False),
        ("http://localhost:" + "1" * 400, False),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "OPTIONS"])
def test_an_origin_is_named_to_itself_only_and_only_if_it_may_send_requests(
    origin: str, named: bool, method: str
) -> None:
    told = fields(method, ("origin", origin))
    assert told.get("access-control-allow-origin") == (origin.strip() if named else None)
    assert told["vary"] == "Origin"
    assert PAGES.may_use([origin.strip()]) is named
    asked = fields(method, ("origin", origin), ("access-control-request-method", "POST"))
    assert ("access-control-allow-origin" in asked) is named


def test_two_origins_are_nobodys() -> None:
    assert fields("POST", ("origin", GOOD), ("origin", GOOD)) == {"vary": "Origin"}
    assert not PAGES.may_use([GOOD, GOOD])


def test_without_an_origin_only_what_caches_keep_says_that_it_depends_on_one() -> None:
    assert fields("POST") == fields("DELETE") == fields("OPTIONS") == {}
    assert fields("GET") == fields("HEAD") == {"vary": "Origin"}


@requirement("cors.credentials")
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "OPTIONS"])
def test_nothing_is_for_every_origin_and_no_cookie_is_asked_for(method: str) -> None:
    for origin in (GOOD, "http://evil.example", "http://localhost"):
        told = fields(
            method,
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-private-network", "true"),
        )
        assert "*" not in "".join(told.values())
        assert "access-control-allow-credentials" not in told
        assert "access-control-allow-private-network" not in told


@requirement("cors.exposed")
def test_an_answer_exposes_what_clients_read() -> None:
    told = fields("POST", ("origin", GOOD))
    exposed = told["access-control-expose-headers"].split(", ")
    assert exposed == list(EXPOSED_HEADERS)
    assert {"Mcp-Session-Id", "WWW-Authenticate", "traceresponse", "Retry-After"} <= set(exposed)
    assert "access-control-allow-methods" not in told


@requirement("cors.preflight")
@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        ((), None),
        (("content-type",), "content-type"),
        (("authorization,content-type",), "authorization, content-type"),
        (("Authorization, Content-Type",), "authorization, content-type"),
        (("mcp-session-id", "mcp-protocol-version"), "mcp-session-id, mcp-protocol-version"),
        (("mcp-method,mcp-name,mcp-param-tenant-id",), "mcp-method, mcp-name, mcp-param-tenant-id"),
        (("last-event-id,accept,cache-control",), "last-event-id, accept, cache-control"),
        (("traceparent,tracestate,baggage",), "traceparent, tracestate, baggage"),
        (("x-evil,traceparent",), "traceparent"),
        (("x-mcp-param-a,amcp-method,authorization2",), None),
        (("*",), None),
        (("mcp-a b",), None),
        (("mcp-a:b",), None),
        (("mcp-ä",), None),
        ((",,content-type,",), "content-type"),
        (("x-a," * 199 + "traceparent",), "traceparent"),
        (("x-a," * 200 + "traceparent",), "traceparent"),
        (("x-a," * 201 + "traceparent",), None),
    ],
)
def test_a_preflight_allows_of_what_is_asked_for_what_clients_send(
    wanted: tuple[str, ...], allowed: str | None
) -> None:
    told = preflight(*wanted)
    assert told.get("access-control-allow-headers") == allowed
    assert told["access-control-allow-methods"] == "GET, POST, DELETE"
    assert told["access-control-max-age"] == "7200"
    assert told["vary"].startswith("Origin, ")


def test_a_preflight_of_another_page_is_told_nothing() -> None:
    assert preflight("content-type", origin="http://evil.example") == {"vary": "Origin"}


@pytest.mark.parametrize("name", ["cookie", "host", "forwarded", "x-forwarded-for", "mcp", ""])
def test_what_no_client_sends_may_not_be_sent(name: str) -> None:
    assert not is_allowed_request_header(name)


@settings(deadline=None)
@given(
    method=st.sampled_from(["POST", "GET", "OPTIONS"]),
    origin=st.one_of(
        st.binary(max_size=40), st.binary(max_size=20).map(lambda tail: b"http://localhost" + tail)
    ),
    wanted=st.lists(
        st.one_of(
            st.binary(max_size=40), st.binary(max_size=20).map(lambda tail: b"mcp-param-" + tail)
        ),
        max_size=3,
    ),
)
def test_whatever_comes_each_line_is_one_header_of_ours(
    method: str, origin: bytes, wanted: list[bytes]
) -> None:
    sent = [(b"origin", origin), (b"access-control-request-method", b"POST")]
    sent.extend((b"access-control-request-headers", each) for each in wanted)
    told = PAGES.fields(Headers(sent), method)
    for line in told.split("\r\n")[:-1]:
        assert re.fullmatch(r"(vary|access-control-[a-z-]+): [!-~]+( [!-~]+)*", line), line


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", set[str]()),
        ("https://a.example", {"https://a.example"}),
        (
            " https://a.example , http://b.example:8080,",
            {"https://a.example", "http://b.example:8080"},
        ),
        ("http://[fd00::1]:8080", {"http://[fd00::1]:8080"}),
        ("tauri://localhost,app://obsidian.md", {"tauri://localhost", "app://obsidian.md"}),
        ("https://xn--bcher-kva.example", {"https://xn--bcher-kva.example"}),
    ],
)
def test_origins_are_taken_as_browsers_write_them(text: str, origins: set[str]) -> None:
    assert parse_origins(text) == origins


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "a.example",
        "https://a.example/",
        "https://A.example",
        "https://a.example:443",
        "http://a.example:80",
        "http://a.example:99999",
        "https://*.example",
        "https://bücher.example",
        "https://user@a.example",
        "https://a.example#x",
        "https://",
        "http://[::1",
        "https://" + "a" * 300,
    ],
)
def test_what_no_browser_would_send_as_an_origin_stops_the_start(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be origins as browsers write them"):
        parse_origins(f"https://good.example,{text}")


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", set[str]()),
        ("MCP.example.com, 10.0.0.1", {"mcp.example.com", "10.0.0.1"}),
        ("fd00::1", {"fd00::1"}),
    ],
)
def test_hosts_are_names_or_addresses(text: str, hosts: set[str]) -> None:
    assert parse_hosts(text) == hosts


@pytest.mark.parametrize(
    "text", ["a.example:8080", "https://a.example", "*.example", "[::1]", "a b", "a" * 254]
)
def test_what_is_no_name_of_a_host_stops_the_start(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be names or addresses without ports"):
        parse_hosts(text)
