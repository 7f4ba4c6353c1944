"""The store under test, of each kind in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stores.backends import BACKENDS, Backend, SqliteBackend


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """An empty store."""
    with BACKENDS[request.param](tmp_path) as made:
        yield made


@pytest.fixture
def sqlite(tmp_path: Path) -> SqliteBackend:
    """A SQLite file that is not there yet."""
    return SqliteBackend(tmp_path)
