"""The ready line: written for programs, and told from whatever else a server prints."""

import pytest

from linkspan_process.ready import parse_ready_line, ready_line

ADDRESSES = {"mcp": "http://127.0.0.1:8080/mcp", "grpc": "[::1]:50051"}


def test_the_addresses_read_as_they_were_written() -> None:
    line = ready_line(ADDRESSES)
    assert line == "ready mcp=http://127.0.0.1:8080/mcp grpc=[::1]:50051"
    assert parse_ready_line(line) == ADDRESSES
    assert parse_ready_line(line + "\r\n") == ADDRESSES


def test_an_address_may_hold_an_equals_sign() -> None:
    assert parse_ready_line("ready mcp=http://x/?a=b") == {"mcp": "http://x/?a=b"}


@pytest.mark.parametrize(
    "line",
    ["", "ready", "ready ", "ready to serve", "already grpc=x", "ready grpc=", "Ready grpc=x"],
)
def test_another_line_is_none(line: str) -> None:
    assert parse_ready_line(line) is None
