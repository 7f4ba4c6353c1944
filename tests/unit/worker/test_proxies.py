"""Whose word counts, as tables: who is taken for the client, and what nobody can make up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.requirements import requirement
from tests.unit.worker.collecting_wire import CollectingWire

from linkspan_process.errors import SettingError
from linkspan_worker.config import WorkerConfig
from linkspan_worker.exposure import answered_hosts, check_proxied
from linkspan_worker.forwarded import PassedOn
from linkspan_worker.headers import Headers
from linkspan_worker.http import HttpExchange
from linkspan_worker.origin import refuse_rebinding
from linkspan_worker.pages import Pages
from linkspan_worker.proxies import TrustedProxies, parse_networks

PEER = "10.0.0.1"
PROXIES = TrustedProxies(["10.0.0.0/8", "fd00::/8", "192.0.2.99/32"])
CLIENT = "203.0.113.7"


def read(*headers: tuple[str, str], peer: str = PEER) -> PassedOn | None:
    return PROXIES.read(peer, Headers([(name.encode(), text.encode()) for name, text in headers]))


def client(*headers: tuple[str, str], peer: str = PEER) -> str | None:
    passed_on = read(*headers, peer=peer)
    return None if passed_on is None or passed_on.client is None else passed_on.client[0]


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.0.0.1", True),
        ("10.255.255.255", True),
        ("11.0.0.1", False),
        ("192.0.2.99", True),
        ("192.0.2.98", False),
        ("fd12::1", True),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", True),
        ("::ffff:11.0.0.1", False),
        ("::1", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_a_proxy_is_trusted_for_its_network(address: str, trusted: bool) -> None:
    assert PROXIES.trusts(address) is trusted


@requirement("proxies.untrusted")
@pytest.mark.parametrize("peer", ["11.0.0.1", "127.0.0.1", "::1", CLIENT])
@pytest.mark.parametrize(
    "header",
    [
        ("forwarded", "for=1.2.3.4;proto=https;host=a.example"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "a.example"),
    ],
)
def test_what_anybody_else_writes_counts_for_nothing(peer: str, header: tuple[str, str]) -> None:
    assert read(header, peer=peer) is None
    assert read(header) is not None


@requirement("proxies.walk")
@pytest.mark.parametrize(
    ("value", "found"),
    [
        (CLIENT, CLIENT),
        (f"{CLIENT}:4711", CLIENT),
        (f"1.2.3.4, {CLIENT}", CLIENT),
        (f"1.2.3.4, {CLIENT}, 10.0.0.9, 10.0.0.8", CLIENT),
        (f"nonsense, {CLIENT}", CLIENT),
        (f"10.0.0.3, {CLIENT}", CLIENT),
        ("10.0.0.9, 10.0.0.8", "10.0.0.9"),  # nobody but proxies: the farthest
        ("unknown, 10.0.0.8", "10.0.0.8"),
        ("1.2.3.4, unknown", None),
        ("1.2.3.4, ", None),
        ("_hidden", None),
        ("2001:DB8::1", "2001:db8::1"),
        ("2001:db8::1, fd00::9", "2001:db8::1"),
        (", ".join([CLIENT] + ["10.0.0.8"] * 31), CLIENT),
        (", ".join([CLIENT] + ["10.0.0.8"] * 32), "10.0.0.8"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy_of_ours(
    value: str, found: str | None
) -> None:
    assert client(("x-forwarded-for", value)) == found
    nodes = [each.strip() for each in value.split(",")]
    if "nonsense" not in value:
        standard = ", ".join(f'for="{f"[{node}]" if "::" in node else node}"' for node in nodes)
        assert client(("forwarded", standard.replace('for=""', "proto=x"))) == found


@pytest.mark.parametrize(
    ("headers", "scheme", "host"),
    [
        ([("x-forwarded-proto", "https")], "https", None),
        ([("x-forwarded-proto", "HTTPS")], "https", None),
        ([("x-forwarded-proto", "gopher")], "", None),
        ([("x-forwarded-host", "a.example:8443")], "", ("a.example", 8443)),
        # One proxy wrote over what there was, or each appended: the one that took the client's call.
        (
            [("x-forwarded-for", f"{CLIENT}, 10.0.0.9"), ("x-forwarded-proto", "https")],
            "https",
            None,
        ),
        (
            [("x-forwarded-for", f"{CLIENT}, 10.0.0.9"), ("x-forwarded-proto", "https, http")],
            "https",
            None,
        ),
        (
            [("x-forwarded-for", f"1.2.3.4, {CLIENT}"), ("x-forwarded-proto", "http, https")],
            "https",
            None,
        ),
        (
            [("x-forwarded-for", CLIENT), ("x-forwarded-host", "evil.example, a.example")],
            "",
            ("a.example", None),
        ),
        ([("forwarded", f"for={CLIENT};proto=https, for=10.0.0.9;proto=http")], "https", None),
        (
            [("forwarded", f"for={CLIENT};host=a.example, for=10.0.0.9;proto=https")],
            "https",
            ("a.example", None),
        ),
        ([("forwarded", f"for=1.2.3.4;proto=http;host=evil.example, for={CLIENT}")], "", None),
        ([("forwarded", "for=unknown;proto=https")], "https", None),
    ],
)
def test_scheme_and_host_are_those_of_the_clients_own_call(
    headers: list[tuple[str, str]], scheme: str, host: tuple[str, int | None] | None
) -> None:
    passed_on = read(*headers) or PassedOn()
    assert (passed_on.scheme, passed_on.host) == (scheme, host)


@requirement("proxies.both")
@pytest.mark.parametrize(
    ("standard", "usual", "expected"),
    [
        (f"for={CLIENT}", [("x-forwarded-for", CLIENT)], PassedOn((CLIENT, None))),
        (
            f"for={CLIENT};proto=https",
            [("x-forwarded-for", CLIENT), ("x-forwarded-host", "a.example")],
            PassedOn((CLIENT, None), "https", ("a.example", None)),
        ),
        ("for=1.2.3.4", [("x-forwarded-for", CLIENT)], None),
        (f"for={CLIENT}", [("x-forwarded-for", "1.2.3.4")], None),
        (f"for={CLIENT}", [("x-forwarded-proto", "https")], None),
        ("proto=https", [("x-forwarded-for", CLIENT)], None),
        ("broken", [("x-forwarded-for", CLIENT)], None),
        (f"for={CLIENT}", [("x-forwarded-for", "unknown")], None),
        (
            f"for={CLIENT};proto=http",
            [("x-forwarded-for", CLIENT), ("x-forwarded-proto", "https")],
            None,
        ),
        (
            f"for={CLIENT};host=a.example",
            [("x-forwarded-for", CLIENT), ("x-forwarded-host", "b.example")],
            None,
        ),
    ],
)
def test_where_both_kinds_of_header_differ_neither_is_believed(
    standard: str, usual: list[tuple[str, str]], expected: PassedOn | None
) -> None:
    assert read(("forwarded", standard), *usual) == expected


_TEXT = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=40)
_LISTS = st.lists(
    st.one_of(_TEXT, st.ip_addresses().map(str), st.sampled_from(["unknown", "10.0.0.2", "_x"])),
    max_size=6,
)


@requirement("proxies.walk")
@settings(deadline=None)
@given(made_up=_LISTS, address=st.ip_addresses(v=4).map(str), hops=st.integers(0, 3))
def test_a_client_cannot_make_up_who_it_is_before_a_proxy_that_appends(
    made_up: list[str], address: str, hops: int
) -> None:
    inner = [f"10.0.1.{hop}" for hop in range(hops)]
    expected = address if not PROXIES.trusts(address) else None
    written = ", ".join([*made_up, address, *inner])
    if expected is not None:
        assert client(("x-forwarded-for", written)) == expected


@requirement("proxies.walk")
@settings(deadline=None)
@given(made_up=_TEXT, address=st.ip_addresses(v=4).map(str))
def test_whatever_a_client_puts_before_it_is_never_taken_for_somebody_else(
    made_up: str, address: str
) -> None:
    if PROXIES.trusts(address):
        return
    joined = client(("forwarded", f"{made_up}, for={address}"))
    assert joined in (address, None)  # None: what was made up broke the field
    assert client(("forwarded", made_up), ("forwarded", f"for={address}")) == address


@requirement("proxies.unreadable")
@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"]
            ),
            _TEXT,
        ),
        max_size=6,
    )
)
def test_whatever_comes_is_read_without_an_error(headers: list[tuple[str, str]]) -> None:
    read(*headers)


@pytest.mark.parametrize(
    ("peer", "passed_on", "address", "scheme"),
    [
        (None, None, "", "http"),
        ((PEER, 4711), None, PEER, "http"),
        ((PEER, 4711), PassedOn(None, "https"), PEER, "https"),
        ((PEER, 4711), PassedOn((CLIENT, None)), CLIENT, "http"),
        ((PEER, 4711), PassedOn((CLIENT, 80), "https", ("a.example", None)), CLIENT, "https"),
    ],
)
def test_an_exchange_says_who_its_client_is(
    peer: tuple[str, int] | None, passed_on: PassedOn | None, address: str, scheme: str
) -> None:
    exchange = HttpExchange(CollectingWire(), client=peer, server=None)
    exchange.passed_on = passed_on
    assert (exchange.client_address, exchange.scheme) == (address, scheme)


# --- which host --------------------------------------------------------------------------------


@requirement("proxies.host")
@pytest.mark.parametrize(
    ("host", "called", "status"),
    [
        ("localhost:8080", None, None),
        ("localhost:8080", "mcp.example.com", None),
        ("mcp.example.com", None, None),
        ("MCP.example.com:443", "mcp.example.com", None),
        ("127.0.0.1:8080", "::1", None),
        # A page of evil.example can have a browser send any header but Host.
        ("evil.example", "localhost", 421),
        ("evil.example", "mcp.example.com", 421),
        ("127.0.0.1:8080", "evil.example", 421),
        ("127.0.0.1:8080", "mcp.example.com.evil.example", 421),
    ],
)
def test_both_the_host_that_came_and_the_host_that_was_called_have_to_be_ours(
    host: str, called: str | None, status: int | None
) -> None:
    passed_on = None if called is None else PassedOn(None, "", (called, None))
    refusal = refuse_rebinding(
        Headers([(b"host", host.encode())]),
        hosts=frozenset({"mcp.example.com"}),
        pages=Pages(frozenset()),
        passed_on=passed_on,
    )
    assert (None if refusal is None else refusal.status) == status


@pytest.mark.parametrize(
    ("config", "hosts"),
    [
        (WorkerConfig(), frozenset[str]()),
        (WorkerConfig(allowed_hosts=frozenset({"a"})), frozenset({"a"})),
        (WorkerConfig(auth_resource="https://a.example:8443/mcp"), frozenset({"a.example"})),
        (WorkerConfig(host="10.0.0.1"), None),
        (WorkerConfig(host="10.0.0.1", auth_resource="https://a.example/mcp"), None),
        (
            WorkerConfig(
                host="10.0.0.1",
                auth_resource="https://a.example/mcp",
                allowed_hosts=frozenset({"b.example"}),
            ),
            frozenset({"a.example", "b.example"}),
        ),
    ],
)
def test_a_worker_answers_to_the_names_it_was_told(
    config: WorkerConfig, hosts: frozenset[str] | None
) -> None:
    assert answered_hosts(config) == hosts


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("", set[str]()),
        ("10.0.0.0/8, fd00::/8", {"10.0.0.0/8", "fd00::/8"}),
        ("127.0.0.1,::1", {"127.0.0.1/32", "::1/128"}),
    ],
)
def test_networks_are_taken_and_addresses_are_networks_of_one(
    text: str, networks: set[str]
) -> None:
    assert parse_networks(text) == networks


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "proxy.example", "*", "10.0.0"])
def test_what_is_no_network_stops_the_start(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be networks such as"):
        parse_networks(text)


@pytest.mark.parametrize(
    ("text", "network"),
    [("10.0.0.5/8", "10.0.0.0/8"), ("::1, fd00::5/8", "fd00::/8"), ("10.0.0.0/33", None)],
)
def test_an_address_in_place_of_its_network_is_told_which_that_is(
    text: str, network: str | None
) -> None:
    with pytest.raises(ValueError, match=r"^must be networks") as refused:
        parse_networks(text)
    hint = f"which has bits set behind its prefix; the network is {network}"
    assert (hint in str(refused.value)) == (network is not None)


@requirement("proxies.exposed")
@pytest.mark.parametrize(
    ("config", "flag"),
    [
        (WorkerConfig(trusted_proxies=frozenset({"127.0.0.1/32"})), "--trusted-proxies"),
        (
            WorkerConfig(
                trusted_proxies=frozenset({"127.0.0.1/32"}), auth_issuer=("https://as.example",)
            ),
            "--auth-resource",
        ),
    ],
)
def test_behind_a_proxy_nobody_is_taken_for_this_machine_alone(
    config: WorkerConfig, flag: str
) -> None:
    with pytest.raises(SettingError, match=f"^{flag}: "):
        check_proxied(config)


@pytest.mark.parametrize(
    "config",
    [
        WorkerConfig(),
        WorkerConfig(trusted_proxies=frozenset({"127.0.0.1/32"}), insecure_no_auth=True),
        WorkerConfig(
            trusted_proxies=frozenset({"127.0.0.1/32"}),
            auth_issuer=("https://as.example",),
            auth_resource="https://a.example/mcp",
        ),
    ],
)
def test_who_was_told_what_it_needs_starts(config: WorkerConfig) -> None:
    check_proxied(config)
