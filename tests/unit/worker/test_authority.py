"""Which host a request is for."""

import pytest

from linkspan_worker.authority import refuse_hosts
from linkspan_worker.headers import Headers


@pytest.mark.parametrize(
    ("hosts", "version", "status"),
    [
        ((b"a",), "1.1", None),
        ((b"",), "1.1", None),
        ((b"a",), "1.0", None),
        ((), "1.0", None),
        ((), "1.1", 400),
        ((b"a", b"a"), "1.1", 400),
        ((b"a", b"b"), "1.0", 400),
    ],
)
def test_a_request_names_one_host(
    hosts: tuple[bytes, ...], version: str, status: int | None
) -> None:
    refusal = refuse_hosts(Headers([(b"host", host) for host in hosts]), version)
    assert (None if refusal is None else refusal.status) == status
