"""Fixtures of the integration tests."""

from collections.abc import Iterator

import pytest
from tests.support.peer import Peer, peer_of, session_at
from tests.support.stack import Stack


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
