"""Fixtures of the tests of `linkspan sessions`."""

from collections.abc import Iterator

import pytest
from tests.integration.sessions_command.commands import (
    ADA,
    ask,
    make,
    open_session,
    server_command,
    session_server,
    sessions,
)
from tests.support.processes import linkspan


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A session server with one session asleep, one live and one created, in that order."""
    data = tmp_path_factory.mktemp("few")
    with linkspan(*server_command(data)) as first:
        ask(first.wait_ready()["grpc"], lambda service: open_session(service, "sleeper"))
        assert first.stop() == 0
    with session_server(data) as target:
        ask(target, lambda service: open_session(service, "adas", ADA))
        make(target, "newcomer")
        yield target


@pytest.fixture(scope="module")
def emptied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A session server of a file's own."""
    with session_server(tmp_path_factory.mktemp("emptied")) as target:
        yield target


@pytest.fixture
def target(emptied: str) -> str:
    """A session server without sessions, for a test to end some; no id may be used again."""
    assert sessions("end", "--all", "--yes", server=emptied).status == 0
    return emptied
