"""Fixtures that several folders of tests share."""

from collections.abc import Iterator

import pytest
from tests.support.stack import Stack, running_stack

from linkspan_propagation.testing import OtlpReceiver


@pytest.fixture(scope="session")
def receiver() -> Iterator[OtlpReceiver]:
    """An OTLP receiver that the shared stack reports to."""
    with OtlpReceiver() as running:
        yield running


@pytest.fixture(scope="session")
def stack(receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A worker and a session server for tests that break nothing."""
    with running_stack(tmp_path_factory.mktemp("data"), receiver=receiver) as running:
        yield running
