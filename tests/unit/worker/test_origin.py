"""The check against DNS rebinding, as a table."""

import pytest

from linkspan_worker.headers import Headers
from linkspan_worker.origin import refuse_rebinding


def status_of(**headers: str) -> int | None:
    refusal = refuse_rebinding(Headers([(k.encode(), v.encode()) for k, v in headers.items()]))
    return None if refusal is None else refusal.status


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1"]
)
def test_loopback_names_pass(host: str) -> None:
    assert status_of(host=host) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io", "[", ""],
)
def test_other_hosts_are_misdirected(host: str) -> None:
    assert status_of(host=host) == 421


@pytest.mark.parametrize("origin", ["http://localhost:6274", "https://127.0.0.1", "http://[::1]:1"])
def test_pages_of_this_machine_pass(origin: str) -> None:
    assert status_of(host="localhost", origin=origin) is None


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost@evil.example", "file://", "http://["],
)
def test_pages_of_other_hosts_are_forbidden(origin: str) -> None:
    assert status_of(host="localhost", origin=origin) == 403
