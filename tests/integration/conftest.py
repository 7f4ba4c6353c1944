"""Fixtures of the integration tests."""

from collections.abc import Iterator

import pytest
from tests.support.apps import PROBE
from tests.support.peer import Peer, peer_of, session_at
from tests.support.stack import Stack, running_stack


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A worker and a session server that host `tests/apps/probe.py`; streams are seldom silent."""
    folder = tmp_path_factory.mktemp("probe")
    with running_stack(folder, app=PROBE, worker_arguments=("--comment-every", "0.05")) as running:
        yield running


@pytest.fixture
def peer(stack: Stack) -> Iterator[Peer]:
    """A client without a session at the shared stack."""
    with peer_of(stack.mcp) as peer:
        yield peer


@pytest.fixture
def session(stack: Stack) -> Iterator[Peer]:
    """A client in a session of its own at the shared stack."""
    with session_at(stack.mcp) as peer:
        yield peer


@pytest.fixture
def prober(probe: Stack) -> Iterator[Peer]:
    """A client in a session of its own at the probe."""
    with session_at(probe.mcp) as peer:
        yield peer
