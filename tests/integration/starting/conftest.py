"""Fixtures of the tests of starting and stopping."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.starting.commands import hosting
from tests.support.apps import PROBE
from tests.support.processes import ServiceProcess, linkspan


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that somebody else has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


@pytest.fixture
def running(tmp_path: Path) -> Iterator[ServiceProcess]:
    """`linkspan run`, ready."""
    with linkspan(*hosting("run", PROBE, data=tmp_path)) as process:
        yield process
