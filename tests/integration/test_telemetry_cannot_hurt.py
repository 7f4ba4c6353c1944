"""Broken telemetry costs spans and nothing else: every call is answered, and what was lost is told."""

import json
import re
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from tests.requirements import requirement
from tests.support.apps import TELLING
from tests.support.mcp_http import HttpSession, call, http_session
from tests.support.processes import ServiceProcess
from tests.support.stack import Stack, running_stack
from tests.tracing.receivers import HttpAnswers, http_receiver

from linkspan_propagation.testing import ExportedSpan, OtlpReceiver, assert_one_trace

CALLS: Final = 30
_LOST: Final = re.compile(r'lost (\d+) spans?: ([^"]*)')


def result_of(session: HttpSession, tool: str, **arguments: Any) -> Any:
    """Call a tool, which must not fail."""
    answer = session.post(call(tool, arguments))
    assert answer.status_code == 200, answer.text
    text = answer.text.partition("data: ")[2] or answer.text
    result = json.loads(text)["result"]
    assert not result.get("isError"), result
    return result.get("structuredContent", {})


def serve_some(session: HttpSession) -> None:
    for _ in range(CALLS):
        assert result_of(session, "baggage_of", name="tenant") == {"result": "None"}


def lost_by(process: ServiceProcess) -> dict[str, int]:
    """Return how many spans a process that has ended says that it lost, by reason."""
    lost: dict[str, int] = {}
    for line in process.errors:
        match = _LOST.search(line)
        if match:
            for each in match[2].partition(" (")[0].split(", "):
                reason, count = each.split(" ")
                lost[reason] = lost.get(reason, 0) + int(count)
    return lost


@contextmanager
def exporting_to(folder: Path, endpoint: str, **env: str) -> Generator[Stack]:
    """Run a stack that exports over HTTP to an endpoint."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        **env,
    }
    with running_stack(folder, app=TELLING, env=variables) as stack:
        yield stack


@requirement("tracing.harmless", "tracing.losses")
@pytest.mark.parametrize("state", ["down", "refusing", "slow"])
def test_a_receiver_that_does_not_take_spans_costs_spans_alone(tmp_path: Path, state: str) -> None:
    with ExitStack() as stack_of:
        endpoint = "http://127.0.0.1:9"  # the port of discard, which nobody serves
        gate = threading.Event()
        if state == "refusing":
            answers = HttpAnswers(statuses=(400,) * 10_000)
            endpoint = stack_of.enter_context(http_receiver(answers)).url
        elif state == "slow":
            endpoint = stack_of.enter_context(http_receiver(HttpAnswers(gate=gate))).url
            stack_of.callback(gate.set)
        stack = stack_of.enter_context(exporting_to(tmp_path, endpoint))
        with http_session(stack.mcp) as session:
            serve_some(session)
        assert stack.worker.stop() == 0
        assert stack.session.stop() == 0
        for process in (stack.worker, stack.session):
            lost = lost_by(process)
            assert sum(lost.values()) >= CALLS, process.errors
            assert set(lost) <= {"export_failed", "shutdown"}
            assert len(process.errors) < CALLS  # it says so seldom


@requirement("tracing.harmless", "tracing.losses", "tracing.bounded")
def test_a_full_queue_costs_what_finds_no_room(tmp_path: Path) -> None:
    gate = threading.Event()
    with http_receiver(HttpAnswers(gate=gate)) as receiver:
        few = {"OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2"}
        with exporting_to(tmp_path, receiver.url, **few) as stack:
            with http_session(stack.mcp) as session:
                serve_some(session)
                assert result_of(session, "lost")["queue_full"] >= CALLS
            gate.set()
            assert stack.worker.stop() == 0
            assert stack.session.stop() == 0
            assert lost_by(stack.worker)["queue_full"] >= CALLS // 2


@requirement("tracing.harmless", "tracing.losses")
def test_a_processor_that_raises_costs_what_it_would_have_had(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        with running_stack(tmp_path, app=TELLING, receiver=receiver) as stack:
            with http_session(stack.mcp) as session:
                result_of(session, "break_processors")
                serve_some(session)
                assert result_of(session, "lost")["processor_failed"] >= CALLS
            assert stack.worker.stop() == 0
            assert stack.session.stop() == 0
            assert len(stack.session.errors) < 10 * CALLS
        tools = [span for span in receiver.spans() if span.name == "tools/call baggage_of"]
    assert len(tools) == CALLS  # who is not broken has all of them


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[ExportedSpan]:
    """All that two processes told until they had ended."""
    with OtlpReceiver() as receiver:
        folder = tmp_path_factory.mktemp("told")
        with running_stack(folder, app=TELLING, receiver=receiver) as stack:
            with http_session(stack.mcp) as session:
                for count in (0, 10_000):
                    assert result_of(session, "describe", count=count) == {"result": "described"}
                serve_some(session)
            assert stack.worker.stop() == 0
            assert stack.session.stop() == 0
        return receiver.spans()


@requirement("tracing.harmless", "tracing.bounded")
def test_attributes_too_many_or_impossible_cost_themselves(told: list[ExportedSpan]) -> None:
    described = [span for span in told if span.name == "tools/call describe"]
    assert len(described) == 2
    for span in described:
        assert len(span.attributes) <= 128
        assert not {"wordless", "nested"} & span.attributes.keys()
        assert_one_trace([each for each in told if each.trace_id == span.trace_id])
    assert len([span for span in told if span.name == "tools/call baggage_of"]) == CALLS


@requirement("tracing.resource")
def test_each_process_says_what_it_is_and_which(told: list[ExportedSpan]) -> None:
    instances: dict[str, set[str]] = {}
    for span in told:
        assert span.resource["service.version"]
        name = str(span.resource["service.name"])
        instances.setdefault(name, set()).add(str(span.resource["service.instance.id"]))
    assert set(instances) == {"linkspan-worker", "linkspan-session"}
    (worker,), (session_server,) = instances["linkspan-worker"], instances["linkspan-session"]
    assert worker != session_server
