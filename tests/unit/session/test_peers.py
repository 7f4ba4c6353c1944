"""Who is at the other end of a connection, from gRPC's words."""

import pytest

from linkspan_session.peers import address_of_peer, name_of_peer


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:58262", "127.0.0.1"),
        ("ipv6:%5B::1%5D:58262", "::1"),
        ("ipv6:[2001:db8::7]:1", "2001:db8::7"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::1%eth0"),
        ("unix:", "unix"),
        ("unix:/run/linkspan/admin.sock", "unix"),
        ("something new", "something new"),
        ("", ""),
    ],
)
def test_an_address_is_told_without_port_as_those_of_clients_are(peer: str, address: str) -> None:
    assert address_of_peer(peer) == address


@pytest.mark.parametrize(
    ("proved", "name"),
    [
        ({}, ""),
        ({"x509_common_name": [b"worker"]}, "worker"),
        (
            {
                "x509_common_name": [b"worker"],
                "x509_subject_alternative_name": [b"spiffe://example.com/worker", b"a.example.com"],
            },
            "spiffe://example.com/worker",
        ),
        ({"x509_common_name": [b"\xff"]}, "\ufffd"),
    ],
)
def test_a_certificate_is_told_by_its_first_alternative_name(
    proved: dict[str, list[bytes]], name: str
) -> None:
    assert name_of_peer(proved) == name
