"""Metrics of running processes, after real calls: what is counted, by what names, and for whom."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx2
import pytest
from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.peer import Peer, modern, modern_headers, peer_of, session_at
from tests.support.processes import EVERYTHING, linkspan
from tests.support.scrape import metrics_of, scrape
from tests.support.stack import Stack, running_stack

from linkspan_process.metrics import Metric
from linkspan_process.metrics.of_telemetry import METRICS as OF_TELEMETRY
from linkspan_propagation.testing import OtlpReceiver
from linkspan_session.metrics_table import METRICS as OF_SESSION
from linkspan_worker.metrics_table import METRICS as OF_WORKER

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
ON = ("--metrics-port", "0")
CALLS = "mcp_server_operation_duration_seconds_count"


@pytest.fixture(scope="module")
def measured(receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A worker and a session server that show metrics, and send spans to the receiver."""
    folder = tmp_path_factory.mktemp("measured")
    with running_stack(
        folder, receiver=receiver, session_arguments=ON, worker_arguments=ON
    ) as running:
        yield running


@pytest.fixture
def client(measured: Stack) -> Iterator[Peer]:
    """A client in a session of its own."""
    with session_at(measured.mcp) as peer:
        yield peer


def names(metrics: Iterable[Metric]) -> set[str]:
    """Return how Prometheus knows metrics."""
    suffixes = {"s": "_seconds", "By": "_bytes"}
    return {each.name.replace(".", "_") + suffixes.get(each.unit, "") for each in metrics}


@requirement("metrics.prometheus")
def test_a_call_is_counted_where_it_passes(measured: Stack, client: Peer) -> None:
    session, worker = metrics_of(measured.session), metrics_of(measured.worker)
    before, http_before = scrape(session), scrape(worker)
    for _ in range(3):
        assert client.call("add", a=2, b=3).status == 200
    after, http_after = scrape(session), scrape(worker)

    def grown(sample: str, **labels: str) -> float:
        return (after.value(sample, **labels) or 0) - (before.value(sample, **labels) or 0)

    tool = {"mcp_method_name": "tools/call", "gen_ai_tool_name": "add"}
    assert grown(CALLS, **tool, mcp_protocol_version="2025-11-25") == 3
    handled = "linkspan.session.v1.SessionService/HandleRequest"
    assert grown("rpc_server_call_duration_seconds_count", rpc_method=handled) >= 3
    http = "http_server_request_duration_seconds_count"
    answered = {"http_route": "/mcp", "http_response_status_code": "200"}
    more = (http_after.value(http, **answered) or 0) - (http_before.value(http, **answered) or 0)
    assert more >= 3
    assert (http_after.value("rpc_client_call_duration_seconds_count", rpc_method=handled) or 0) > 0
    assert after.value("linkspan_session_sessions", state="live") == 1
    assert (after.value("linkspan_session_creations_total") or 0) >= 1
    commits = "linkspan_session_store_duration_seconds_count"
    assert (after.value(commits, operation="sessions.create") or 0) >= 1


@requirement("metrics.session-duration")
def test_a_session_that_is_ended_leaves_its_duration(measured: Stack) -> None:
    address = metrics_of(measured.session)
    before = scrape(address)
    with session_at(measured.mcp) as peer:
        assert peer.session_id is not None
        headers = {"mcp-session-id": peer.session_id}
        assert httpx2.delete(measured.mcp, headers=headers, timeout=20.0).status_code == 200
    after = scrape(address)
    for sample in ("mcp_server_session_duration_seconds_count", "linkspan_session_ends_total"):
        assert (after.value(sample) or 0) > (before.value(sample) or 0)


@requirement("metrics.bounded")
def test_what_clients_make_up_names_no_time_series(measured: Stack, client: Peer) -> None:
    for made_up in range(5):
        client.ask(f"made/up{made_up}")
        client.call(f"made_up_{made_up}")
        httpx2.request("BREW", measured.mcp, timeout=20.0)
        httpx2.get(f"{measured.http}/made/up{made_up}", timeout=20.0)
    for process in (measured.session, measured.worker):
        assert not re.search("made.up|BREW", scrape(metrics_of(process)).text)
    seen = scrape(metrics_of(measured.session))
    assert seen.value(CALLS, mcp_method_name="_OTHER", error_type="-32601") is not None
    assert seen.value(CALLS, mcp_method_name="tools/call", gen_ai_tool_name="_OTHER") is not None


@requirement("metrics.refusals")
def test_a_refusal_is_counted_by_its_reason_on_both_sides(measured: Stack) -> None:
    with peer_of(measured.mcp) as stranger:
        stranger.session_id = "nobody-has-this"
        assert stranger.call("add", a=1, b=2).status == 404
    reason = {"reason": "SESSION_NOT_FOUND"}
    for process, name in ((measured.worker, "worker"), (measured.session, "session")):
        seen = scrape(metrics_of(process))
        assert (seen.value(f"linkspan_{name}_refusals_total", **reason) or 0) >= 1


@requirement("metrics.exemplars")
def test_a_bucket_names_a_trace_that_was_exported(
    measured: Stack, receiver: OtlpReceiver, client: Peer
) -> None:
    scrape(metrics_of(measured.session))  # what was kept so far may be replaced from here on
    scrape(metrics_of(measured.worker))
    receiver.clear()
    assert client.call("add", a=20, b=22).status == 200
    receiver.wait_for(lambda spans: any(span.name == "mcp.request" for span in spans))
    (root,) = [span for span in receiver.spans() if span.name == "mcp.request"]
    for process, sample in (
        (measured.session, "mcp_server_operation_duration_seconds_bucket"),
        (measured.session, "rpc_server_call_duration_seconds_bucket"),
        (measured.worker, "rpc_client_call_duration_seconds_bucket"),
        (measured.worker, "http_server_request_duration_seconds_bucket"),
    ):
        exemplars = scrape(metrics_of(process)).exemplars(sample)
        assert root.trace_id in {each["trace_id"] for each in exemplars}, sample


def test_an_open_stream_is_counted_while_it_is_open(measured: Stack, client: Peer) -> None:
    with client.listen() as stream:
        assert stream.response.status_code == 200
        assert (scrape(metrics_of(measured.worker)).value("linkspan_worker_streams") or 0) >= 1
        session = scrape(metrics_of(measured.session))
        assert (session.value("linkspan_session_streams") or 0) >= 1


@requirement("metrics.documented")
def test_a_process_shows_no_metric_that_is_not_documented(measured: Stack, client: Peer) -> None:
    assert client.call("add", a=1, b=1).status == 200
    for process, declared in ((measured.session, OF_SESSION), (measured.worker, OF_WORKER)):
        seen = scrape(metrics_of(process))
        known = names((*declared, *OF_TELEMETRY))
        assert set(seen.families) - known <= {"target"}
        for metric in declared:
            family = seen.families.get(next(iter(names([metric]))))
            if family is None:
                continue  # it has not happened
            assert family.type == metric.kind, metric.name
            allowed = {each.replace(".", "_") for each in metric.attributes}
            labels = {label for sample in family.samples for label in sample.labels}
            assert labels <= allowed | {"otel_scope_name", "le"}, metric.name


@requirement("metrics.documented")
def test_the_documentation_lists_what_the_code_declares() -> None:
    rows = [
        tuple(cell.strip() for cell in line.strip("|\n").split("|"))
        for line in DOCUMENT.read_text().splitlines()
        if line.startswith("| `")
    ]
    declared = [
        (
            f"`{each.name}`",
            each.kind,
            f"`{each.unit}`",
            ", ".join(f"`{name}`" for name in each.attributes),
            each.meaning,
        )
        for each in (*OF_WORKER, *OF_SESSION, *OF_TELEMETRY)
    ]
    assert rows == declared


def test_names_begin_with_ours_or_have_a_source() -> None:
    for metric in (*OF_WORKER, *OF_SESSION, *OF_TELEMETRY):
        assert metric.name.startswith("linkspan.") == (metric.source == "docs/metrics.md")


def test_text_for_who_does_not_speak_open_metrics(measured: Stack) -> None:
    response = httpx2.get(metrics_of(measured.worker), timeout=20.0)
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# EOF" not in response.text
    assert "# TYPE linkspan_worker_requests gauge" in response.text


@requirement("metrics.loopback")
def test_a_page_of_another_site_cannot_read_metrics(measured: Stack) -> None:
    address = metrics_of(measured.worker)
    rebound = httpx2.get(address, headers={"host": "attacker.example"}, timeout=20.0)
    assert rebound.status_code == 403
    assert httpx2.get(address + "/else", timeout=20.0).status_code == 404


@requirement("metrics.off")
def test_without_being_asked_a_process_has_no_metrics(stack: Stack) -> None:
    for process in (stack.session, stack.worker):
        assert not any("metrics=" in line for line in process.output)


def test_a_port_that_is_taken_stops_the_start(measured: Stack) -> None:
    port = metrics_of(measured.worker).split(":")[2].split("/")[0]
    with linkspan("worker", "--port", "0", "--metrics-port", port) as worker:
        assert worker.wait() == 2
        (line,) = worker.errors
        assert "choose another port with --metrics-port" in line


@pytest.mark.parametrize(
    "env",
    [
        {"OTEL_METRICS_EXPORTER": "graphite"},
        {"OTEL_LOGS_EXPORTER": "syslog"},
        {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "carrier-pigeon"},
        {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "many"},
    ],
)
def test_a_variable_that_cannot_be_honoured_stops_the_start(env: dict[str, str]) -> None:
    with linkspan("worker", "--port", "0", env=env) as worker:
        assert worker.wait() == 2
        (line,) = worker.errors
        assert next(reversed(env)) in line


@requirement("metrics.prometheus")
def test_the_standard_variables_ask_for_the_endpoint_too(tmp_path: Path) -> None:
    env = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}
    with running_stack(tmp_path, app=PROBE, env=env) as running:
        for process in (running.session, running.worker):
            assert "target" in scrape(metrics_of(process)).families


def test_linkspan_run_says_where_each_process_shows_its_metrics(tmp_path: Path) -> None:
    env = {"LINKSPAN_SESSION_METRICS_PORT": "0", "LINKSPAN_WORKER_METRICS_PORT": "0"}
    ports = ("--port", "0", "--session-port", "0", "--session-processes", "2", "--no-traces")
    with linkspan("run", EVERYTHING, *ports, "--data", str(tmp_path), env=env) as run:
        run.wait_ready()
        (line,) = [line for line in run.output if line.strip().startswith("metrics")]
        addresses = line.split(None, 1)[1].split(", ")
        assert len(addresses) == 3
        for address in addresses:
            assert "target" in scrape(address).families
        assert run.stop() == 0


def test_a_task_free_request_of_2026_07_28_is_counted_by_its_version(measured: Stack) -> None:
    message = modern("tools/call", {"name": "add", "arguments": {"a": 1, "b": 1}})
    with peer_of(measured.mcp) as peer:
        assert peer.post(message, headers=modern_headers(message)).status == 200
    seen = scrape(metrics_of(measured.session))
    assert seen.value(CALLS, gen_ai_tool_name="add", mcp_protocol_version="2026-07-28")
