"""Fixtures of the trace backend's tests."""

from collections.abc import Iterator

import pytest
from tests.traces.backend import Backend, running_backend


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A trace backend for tests that break nothing; each looks at traces of its own only."""
    with running_backend(tmp_path_factory.mktemp("traces")) as running:
        yield running
