"""Fixtures of the tests of authentication."""

from collections.abc import Iterator

import pytest
from tests.auth.guarded import Guarded, running_guarded


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A stack that asks who calls, for tests that break nothing."""
    with running_guarded(tmp_path_factory.mktemp("guarded")) as running:
        yield running
