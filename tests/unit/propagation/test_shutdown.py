"""The end of telemetry where the interpreter is ending as well."""

import threading

import pytest
from opentelemetry import trace

from linkspan_propagation import Telemetry


class Provider(trace.NoOpTracerProvider):
    """Counts how often it was shut down."""

    def __init__(self, error: Exception | None = None) -> None:
        self.shut_downs = 0
        self.error = error

    def shutdown(self) -> None:
        self.shut_downs += 1
        if self.error is not None:
            raise self.error


def test_an_interpreter_that_starts_no_thread_any_more_is_no_obstacle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError(f"can't create new thread at interpreter shutdown: {thread.name}")

    provider = Provider()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert Telemetry(provider, installed=True).shut_down(1)
    assert provider.shut_downs == 1


def test_a_second_shut_down_does_nothing() -> None:
    provider = Provider()
    telemetry = Telemetry(provider, installed=True)
    assert telemetry.shut_down(1)
    assert telemetry.shut_down(1)
    assert provider.shut_downs == 1


def test_a_provider_that_raises_makes_it_false_and_no_error() -> None:
    assert Telemetry(Provider(RuntimeError("broken")), installed=True).shut_down(1) is False


def test_a_provider_of_somebody_else_is_not_shut_down() -> None:
    provider = Provider()
    assert Telemetry(provider).shut_down(1)
    assert provider.shut_downs == 0
