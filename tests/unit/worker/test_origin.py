"""The check against DNS rebinding, as a table."""

import tracemalloc

import pytest

from linkspan_worker.headers import Headers
from linkspan_worker.origin import refuse_rebinding
from linkspan_worker.pages import Pages


def status_of(**headers: str) -> int | None:
    return status_by(headers, loopback_only=True)


def status_by(
    headers: dict[str, str], *, loopback_only: bool, allowed: frozenset[str] = frozenset()
) -> int | None:
    refusal = refuse_rebinding(
        Headers([(name.encode(), value.encode()) for name, value in headers.items()]),
        hosts=frozenset() if loopback_only else None,
        pages=Pages(allowed),
    )
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


def test_hosts_that_are_too_long_to_be_one_take_no_memory() -> None:
    tracemalloc.start()
    try:
        for number in range(300):
            assert status_of(host=f"{number}".rjust(20_000, "x")) == 421
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("origin", ["http://localhost:6274", "https://127.0.0.1", "http://[::1]:1"])
def test_pages_of_this_machine_pass(origin: str) -> None:
    assert status_of(host="localhost", origin=origin) is None


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost@evil.example", "file://", "http://["],
)
def test_pages_of_other_hosts_are_forbidden(origin: str) -> None:
    assert status_of(host="localhost", origin=origin) == 403


def test_every_address_of_the_loopback_range_passes() -> None:
    assert status_of(host="127.0.0.2:8080", origin="http://127.9.9.9") is None


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, None),
        ("http://evil.example", 403),
        ("http://good.example", 403),
        ("https://good.example", None),
        ("http://localhost:6274", None),
    ],
)
def test_elsewhere_any_host_passes_but_not_any_page(origin: str | None, status: int | None) -> None:
    headers = {"host": "mcp.example", **({} if origin is None else {"origin": origin})}
    allowed = frozenset({"https://good.example"})
    assert status_by(headers, loopback_only=False, allowed=allowed) == status
