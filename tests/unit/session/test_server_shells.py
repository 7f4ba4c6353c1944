"""Which certificates hold one of the names that are let in; as data."""

import pytest
from tests.requirements import requirement

from linkspan_session.server_shells import is_named

NAMES = frozenset({b"worker.example.com", b"10.0.0.1", b"spiffe://example.com/worker"})


@requirement("tls.peers")
@pytest.mark.parametrize(
    ("holds", "let_in"),
    [
        ({"peer_dns": [b"worker.example.com"]}, True),
        ({"peer_dns": [b"a.example.com", b"worker.example.com"]}, True),
        ({"peer_ip": [b"10.0.0.1"]}, True),
        ({"peer_uri": [b"spiffe://example.com/worker"]}, True),
        ({}, False),
        ({"peer_dns": []}, False),
        ({"peer_dns": [b"other.example.com"]}, False),
        ({"peer_dns": [b"worker.example.com.evil.example"]}, False),
        ({"peer_dns": [b"*.example.com"]}, False),
        ({"peer_uri": [b"spiffe://example.com/worker/more"]}, False),
        ({"peer_uri": [b"spiffe://example.com"]}, False),
        # What one kind of name holds is none of another kind.
        ({"peer_dns": [b"spiffe://example.com/worker"]}, False),
        ({"peer_uri": [b"worker.example.com"]}, False),
        ({"peer_email": [b"worker.example.com"]}, False),
        ({"x509_common_name": [b"worker.example.com"]}, False),
        ({"x509_subject_alternative_name": [b"worker.example.com"]}, False),
    ],
)
def test_a_certificate_is_let_in_by_a_name_of_its_kind(
    holds: dict[str, list[bytes]], let_in: bool
) -> None:
    assert is_named(NAMES, holds) == let_in
