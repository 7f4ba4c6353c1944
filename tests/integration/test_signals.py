"""Metrics and logs over OTLP, from running processes; and receivers that are no use."""

import json
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from tests.requirements import requirement
from tests.support.otlp import SignalReceiver, attributes_of
from tests.support.peer import Peer, peer_of, session_at
from tests.support.processes import REPOSITORY, ServiceProcess, clean_environ
from tests.support.scrape import metrics_of, scrape
from tests.support.stack import Stack, running_stack
from tests.support.waiting import wait_until

from linkspan_contract.session_digest import session_digest
from linkspan_propagation.testing import OtlpReceiver

RAISING = str(REPOSITORY / "tests" / "apps" / "raising.py") + ":server"
METHOD = "faulty/ask"
OFTEN = {"OTEL_METRIC_EXPORT_INTERVAL": "300"}
ON = ("--metrics-port", "0")
SECRET = "Bearer nobody-may-read-this"  # noqa: S105 - it opens nothing


@pytest.fixture
def signals() -> Iterator[SignalReceiver]:
    """A receiver of metrics and logs that takes what comes."""
    with SignalReceiver() as running:
        yield running


def points_of(
    signals: SignalReceiver, service: str, name: str
) -> list[tuple[dict[str, str], int, int]]:
    """Return attributes, count and how many exemplars of all points of a histogram so far."""
    return [
        (attributes_of(point.attributes), point.count, len(point.exemplars))
        for resource, metric in signals.metrics()
        if metric.name == name and attributes_of(resource.attributes)["service.name"] == service
        for point in metric.histogram.data_points
    ]


@requirement("metrics.otlp", "metrics.exemplars")
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_metrics_arrive_over_otlp_with_exemplars(
    protocol: str, signals: SignalReceiver, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    env = {
        **OFTEN,
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": (
            signals.grpc if protocol == "grpc" else f"{signals.http}/v1/metrics"
        ),
    }
    with running_stack(tmp_path, receiver=receiver, env=env) as stack:
        with session_at(stack.mcp) as peer:
            assert peer.call("add", a=2, b=3).status == 200
        for service, name, attribute, value in (
            ("linkspan-session", "mcp.server.operation.duration", "gen_ai.tool.name", "add"),
            ("linkspan-session", "linkspan.session.store.duration", "operation", "sessions.create"),
            ("linkspan-worker", "http.server.request.duration", "http.route", "/mcp"),
            ("linkspan-worker", "rpc.client.call.duration", "rpc.system.name", "grpc"),
        ):

            def arrived(
                signals: SignalReceiver,
                service: str = service,
                name: str = name,
                attribute: str = attribute,
                value: str = value,
            ) -> bool | None:
                points = points_of(signals, service, name)
                return (
                    any(
                        attributes.get(attribute) == value and count and exemplars
                        for attributes, count, exemplars in points
                    )
                    or None
                )

            signals.wait_for(arrived)
    instances = {
        attributes_of(resource.attributes)["service.instance.id"]
        for resource, _ in signals.metrics()
    }
    assert len(instances) == 2


@requirement("logs.otlp", "logs.subject")
def test_logs_arrive_over_otlp_with_their_trace(
    signals: SignalReceiver, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    env = {
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{signals.http}/v1/logs",
    }
    receiver.clear()
    with (
        running_stack(tmp_path, app=RAISING, receiver=receiver, env=env) as stack,
        session_at(stack.mcp) as peer,
    ):
        correlation_id = fail(peer)
        session = session_digest(peer.session_id or "")
        _, logger, record = signals.wait_for(
            lambda signals: next(
                (each for each in signals.logs() if correlation_id in each[2].body.string_value),
                None,
            )
        )
        assert logger == "linkspan_session.kernel.hosted"
        attributes = attributes_of(record.attributes)
        assert attributes["mcp.session.id"] == session
        assert attributes["mcp.method.name"] == METHOD
        assert "Traceback" in attributes["exception.stacktrace"]
        trace_id, span_id = record.trace_id.hex(), record.span_id.hex()
        receiver.wait_for(
            lambda spans: any(
                each.span_id == span_id and each.trace_id == trace_id for each in spans
            )
        )


def fail(peer: Peer) -> str:
    """Have a handler fail; returns the correlation id that its client is told."""
    correlation_id: str = peer.ask(METHOD, {"way": "unusual"}).error["data"]["correlationId"]
    return correlation_id


@requirement("metrics.harmless", "telemetry.losses")
@pytest.mark.parametrize("manner", ["gone", "refuses", "hangs"])
def test_a_receiver_that_is_no_use_stops_no_request_and_no_end(manner: str, tmp_path: Path) -> None:
    with unusable(manner) as address:
        env = {
            **OFTEN,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            "OTEL_EXPORTER_OTLP_ENDPOINT": address,
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        }
        with running_stack(tmp_path, env=env, session_arguments=ON, worker_arguments=ON) as stack:
            with session_at(stack.mcp) as peer:
                for _ in range(20):
                    assert peer.call("add", a=1, b=1).status == 200
                peer.call("no_such_tool")  # which is logged
            wait_for_losses(stack.session, "linkspan_telemetry_dropped_spans_total")
            wait_for_losses(stack.worker, "linkspan_telemetry_dropped_spans_total")
            wait_for_losses(stack.session, "linkspan_telemetry_dropped_logs_total")
            assert stack.worker.stop() == 0, stack.worker.errors
            assert stack.session.stop() == 0, stack.session.errors


@contextmanager
def unusable(manner: str) -> Generator[str]:
    """Give an address where nothing comes of what is sent."""
    if manner == "gone":
        with socket.create_server(("127.0.0.1", 0)) as freed:
            address = f"http://127.0.0.1:{freed.getsockname()[1]}"
        yield address
        return
    with SignalReceiver("hangs" if manner == "hangs" else "refuses") as receiver:
        yield receiver.http


def wait_for_losses(process: ServiceProcess, sample: str) -> None:
    """Wait until a process says that something was lost: it does so when an export has failed."""
    address = metrics_of(process)
    wait_until(
        lambda: bool(scrape(address).value(sample, reason="export_failed")), f"a loss in {sample}"
    )


@requirement("logs.json", "logs.subject")
def test_a_line_of_json_says_what_it_is_about(receiver: OtlpReceiver, tmp_path: Path) -> None:
    with (
        running_stack(tmp_path, app=RAISING, receiver=receiver) as stack,
        session_at(stack.mcp) as peer,
    ):
        correlation_id = fail(peer)
        session = session_digest(peer.session_id or "")
        assert stack.session.stop() == 0
        (line,) = [
            each
            for each in map(json.loads, stack.session.errors)
            if correlation_id in each["message"]
        ]
    assert line["level"] == "error"
    assert line["session"] == session
    assert line["method"] == METHOD
    assert re.fullmatch("[0-9a-f]{32} [0-9a-f]{16}", f"{line['trace_id']} {line['span_id']}")
    assert line["exception"].startswith("Traceback")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


@requirement("logs.secrets")
def test_no_session_id_and_no_header_is_in_any_log(tmp_path: Path) -> None:
    arguments = ("--log-level", "debug")
    with running_stack(
        tmp_path, app=RAISING, session_arguments=arguments, worker_arguments=arguments
    ) as stack:
        with session_at(stack.mcp) as peer:
            session_id = peer.session_id or ""
            peer.http.headers["authorization"] = SECRET
            peer.http.headers["mcp-param-token"] = SECRET
            fail(peer)
            with peer.listen():
                pass
            assert peer.end().status == 200
            assert peer.call("echo").status == 404
        with peer_of(stack.mcp, session_id="made-up-by-a-guesser") as guesser:
            assert guesser.call("echo").status == 404
        logged = stopped(stack)
    for secret in (session_id, SECRET, SECRET.split()[1], "made-up-by-a-guesser"):
        assert secret not in logged
    assert session_digest(session_id) in logged


def stopped(stack: Stack) -> str:
    """Stop both processes, and return all that they have logged."""
    assert stack.worker.stop() == 0
    assert stack.session.stop() == 0
    lines = [*stack.worker.errors, *stack.session.errors]
    for line in lines:
        assert isinstance(json.loads(line), dict)
    return "\n".join(lines)


@requirement("logs.json")
def test_lines_on_a_terminal_are_for_people() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "linkspan_cli", "worker", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=clean_environ(),
        text=True,
    ) as worker:
        os.close(theirs)
        assert worker.stdout is not None
        ready = worker.stdout.readline()
        line = os.read(ours, 4096).decode()
        worker.terminate()
        assert worker.wait(20) == 0
    os.close(ours)
    assert ready.startswith("ready mcp=")
    assert re.match(
        r"\d{4}-\d\d-\d\d \S+ INFO    linkspan_worker.server trace=- serving http", line
    )


def test_text_can_be_asked_for(probe: Stack) -> None:
    with probe.with_worker("--log-format", "text") as stack:
        with httpx2.Client() as client:
            assert client.get(f"{stack.http}/healthz").status_code == 200
        assert stack.worker.stop() == 0
    assert all(" trace=" in line for line in stack.worker.errors)
