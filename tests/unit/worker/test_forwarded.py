"""How `Forwarded` and `X-Forwarded-*` are read, as tables, and by whatever hypothesis makes up."""

import ipaddress
import re
import tracemalloc
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.requirements import requirement

from linkspan_worker.forwarded import (
    MAX_HOPS,
    Address,
    PassedOn,
    forwarded_hops,
    nearest_first,
    parse_host,
    parse_node,
    plain_address,
)


@dataclass(frozen=True)
class Hop:
    """What a table says of a hop."""

    client: str = ""
    scheme: str = ""
    host: str = ""


def shown(address: Address | None) -> str:
    if address is None:
        return ""
    name, port = address
    return name if port is None else f"{name} {port}"


def read(*fields: str) -> list[Hop]:
    return [Hop(shown(hop.client), hop.scheme, shown(hop.host)) for hop in forwarded_hops(fields)]


@requirement("proxies.forwarded")
@pytest.mark.parametrize(
    ("field", "hops"),
    [
        # RFC 7239, sections 4, 6 and 7
        ("for=192.0.2.43", [Hop("192.0.2.43")]),
        ('For="[2001:db8:cafe::17]:4711"', [Hop("2001:db8:cafe::17 4711")]),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", [Hop("192.0.2.60", "http")]),
        ("for=192.0.2.43, for=198.51.100.17", [Hop("198.51.100.17"), Hop("192.0.2.43")]),
        ('for="_gazonk"', [Hop()]),
        ("for=_hidden, for=_SEVKISEK", [Hop(), Hop()]),
        ("for=unknown", [Hop()]),
        ('for="192.0.2.43:47011"', [Hop("192.0.2.43 47011")]),
        ('for="192.0.2.43:_port"', [Hop("192.0.2.43")]),
        # words
        ("FOR=192.0.2.1;PROTO=HTTPS", [Hop("192.0.2.1", "https")]),
        ('for="192.0.2.1";host="a.example:8443"', [Hop("192.0.2.1", "", "a.example 8443")]),
        ("host=A.Example", [Hop("", "", "a.example")]),
        (r'for="192\.0.2.1"', [Hop("192.0.2.1")]),
        ('for=192.0.2.1;ext="a,b;c"', [Hop("192.0.2.1")]),
        (r'for=192.0.2.1;ext="a\",for=6.6.6.6"', [Hop("192.0.2.1")]),
        ("for=192.0.2.1;proto=ftp", [Hop("192.0.2.1")]),
        ("for=192.0.2.1;host=a/b", []),
        # lists
        (" , for=192.0.2.1 ,, for=192.0.2.2 ,", [Hop("192.0.2.2"), Hop("192.0.2.1")]),
        ("for=192.0.2.1; proto=https ;", [Hop("192.0.2.1", "https")]),
        ("", []),
        # broken
        ("for", []),
        ("for=", []),
        ("=192.0.2.1", []),
        ("for=192.0.2.1;for=192.0.2.2", []),
        ("for=192.0.2.1;FOR=192.0.2.2", []),
        ('for="192.0.2.1', []),
        ('for=192.0.2.1"', []),
        ('for="192.0.2.1"x', []),
        ("for=[2001:db8::1]", []),  # has to be quoted
        ("for=192.0.2.1:80", []),
        ("for = 192.0.2.1", []),
        ("for=192.0.2.1 for=192.0.2.2", []),
        ("for=192.0.2.1\x00", []),
        ('for="192.0.2.1\\', []),
        # no addresses
        ('for="[192.0.2.1]"', [Hop()]),
        ('for="[2001:db8::1"', [Hop()]),
        ('for="[2001:db8::1%eth0]"', [Hop()]),
        ("for=192.0.2.256", [Hop()]),
        ("for=192.0.2.01", [Hop()]),
        ('for="192.0.2.1:65536"', [Hop()]),
        ('for="192.0.2.1:"', [Hop()]),
        ("for=evil.example", [Hop()]),
    ],
)
def test_forwarded_is_read_as_the_rfc_has_it_nearest_hop_first(field: str, hops: list[Hop]) -> None:
    assert read(field) == hops


@pytest.mark.parametrize(
    ("fields", "clients"),
    [
        (("for=192.0.2.1", "for=192.0.2.2"), ["192.0.2.2", "192.0.2.1"]),
        (("for=192.0.2.1", "for=192.0.2.2, broken", "for=192.0.2.3"), ["192.0.2.3"]),
        (('for="', "for=192.0.2.3"), ["192.0.2.3"]),
        (("for=192.0.2.1", "broken"), []),
        (("for=192.0.2.1;ext=" + "a" * 2048, "for=192.0.2.2"), ["192.0.2.2"]),
        (("for=192.0.2.1", *[","] * (MAX_HOPS - 1)), ["192.0.2.1"]),
        (("for=192.0.2.1", *[","] * MAX_HOPS), []),
    ],
)
def test_of_several_fields_those_before_a_broken_one_are_not_read(
    fields: tuple[str, ...], clients: list[str]
) -> None:
    assert [hop.client for hop in read(*fields)] == clients


@requirement("proxies.usual")
@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1 4711"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1 4711"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:c000:201]:80", "192.0.2.1 80"),
        ("unknown", ""),
        ("_hidden", ""),
        ("", ""),
        ("evil.example", ""),
        ("192.0.2.1 ", ""),
        ("192.0.2.1:99999", ""),
        ("127.1", ""),
        ("2130706433", ""),
        ("0x7f.0.0.1", ""),
        ("١٩٢.0.2.1", ""),
        ("fe80::1%eth0", ""),
        ("2001:db8::1:" + "1" * 100, ""),
        ("'192.0.2.1'", ""),
        ("192.0.2.1\n", ""),
    ],
)
def test_who_somebody_is_has_one_form_or_is_not_known(text: str, node: str) -> None:
    assert shown(parse_node(text)) == node


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("a.example", "a.example"),
        ("A.Example:8443", "a.example 8443"),
        ("[2001:DB8::1]:80", "2001:db8::1 80"),
        ("a.example:99999", ""),
        ("a.example/x", ""),
        ("user@a.example", ""),
        ("a b", ""),
        ("", ""),
        ("a" * 300, ""),
    ],
)
def test_a_host_is_a_name_and_maybe_a_port(text: str, host: str) -> None:
    assert shown(parse_host(text)) == host


def test_a_list_is_read_from_its_end_and_only_so_far() -> None:
    assert nearest_first(["a , b", "c"]) == ["c", "b", "a"]
    assert nearest_first(["a,,b"]) == ["b", "", "a"]
    many = nearest_first([",".join(map(str, range(10_000)))])
    assert many == [str(each) for each in range(9999, 9999 - MAX_HOPS, -1)]


# --- whatever comes ------------------------------------------------------------------------------

_CHARACTERS = st.text(st.characters(max_codepoint=255), max_size=60)
_LOOKS_LIKE = st.lists(
    st.sampled_from(
        ["for=", "192.0.2.1", '"', "\\", ";", ",", " ", "proto=https", "host=", "[::1]", "unknown"]
    ),
    max_size=12,
).map("".join)


@requirement("proxies.unreadable")
@settings(deadline=None)
@given(st.lists(st.one_of(_CHARACTERS, _LOOKS_LIKE), max_size=4))
def test_whatever_comes_only_addresses_schemes_and_hosts_come_out(fields: list[str]) -> None:
    for hop in forwarded_hops(fields):
        if hop.client is not None:
            assert plain_address(hop.client[0]) == hop.client[0]
        assert hop.scheme in ("", "http", "https")
        if hop.host is not None:
            assert re.fullmatch(r"[a-z0-9._:-]+", hop.host[0])
    for value in nearest_first(fields):
        node = parse_node(value)
        assert node is None or plain_address(node[0]) == node[0]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.ip_addresses(),
            st.one_of(st.none(), st.integers(1, 65535)),
            st.sampled_from(["", "http", "https"]),
            st.sampled_from(["", "a.example", "a.example:8443"]),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([",", ", ", " ,\t"]),
)
def test_what_a_proxy_writes_is_read_as_it_was_meant(
    chain: list[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int | None, str, str]],
    comma: str,
) -> None:
    elements: list[str] = []
    hops: list[PassedOn] = []
    for address, port, scheme, host in chain:
        node = f"[{address}]" if address.version == 6 else str(address)
        node += "" if port is None else f":{port}"
        element = f'for="{node}"'
        element += f";proto={scheme}" if scheme else ""
        element += f';host="{host}"' if host else ""
        elements.append(element)
        hops.append(PassedOn((plain_address(str(address)) or "", port), scheme, parse_host(host)))
    assert list(forwarded_hops([comma.join(elements)])) == hops[::-1]
    assert list(forwarded_hops(elements)) == hops[::-1]


def test_nodes_that_are_too_long_to_be_one_take_no_memory() -> None:
    tracemalloc.start()
    try:
        assert not any(parse_node(f"{number}".rjust(20_000, "x")) for number in range(300))
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
