"""The store under test, of each kind in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stores.backends import BACKENDS, Backend


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """An empty store."""
    with BACKENDS[request.param](tmp_path) as made:
        yield made
