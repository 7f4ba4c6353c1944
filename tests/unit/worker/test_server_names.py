"""Which name certificates of the servers behind a target hold, if no setting says."""

import pytest
from tests.requirements import requirement

from linkspan_worker.targets import name_of, names_several, parse_target


@requirement("tls.names")
@pytest.mark.parametrize(
    ("target", "name", "several"),
    [
        ("127.0.0.1:50051", "", False),
        ("[::1]:50051", "", False),
        ("localhost:50051", "localhost", False),
        ("sessions.internal:50051", "sessions.internal", False),
        ("dns:///sessions.internal:50051", "sessions.internal", False),
        ("dns://10.0.0.53/sessions.internal:50051", "sessions.internal", False),
        ("127.0.0.1:50051,127.0.0.1:50052", "127.0.0.1", False),
        ("[::1]:50051,[::1]:50052", "::1", False),
        ("ipv4:10.0.0.1:50051", "", False),
        ("10.0.0.1:50051,10.0.0.2:50051", "", True),
        ("unix:/run/session.sock", "", False),
    ],
)
def test_a_target_names_its_servers_unless_it_lists_several(
    target: str, name: str, several: bool
) -> None:
    parsed = parse_target(target)
    assert name_of(parsed) == name
    assert names_several(parsed) == several
