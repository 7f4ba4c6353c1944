"""Fixtures that several folders of tests share."""

import signal
from collections.abc import Iterator

import pytest
from tests.support.apps import PROBE
from tests.support.stack import Stack, running_stack

from linkspan_propagation.testing import OtlpReceiver


def pytest_configure() -> None:
    """Have processes that tests start heed Ctrl-C: what a shell runs in the background does not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A worker and a session server that host `tests/apps/probe.py`; streams are seldom silent."""
    folder = tmp_path_factory.mktemp("probe")
    with running_stack(folder, app=PROBE, worker_arguments=("--comment-every", "0.05")) as running:
        yield running
