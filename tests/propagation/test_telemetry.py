"""Setting up and shutting down, each in its own process, with real exporters and a real wire."""

import json
import socket
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.propagation.processes import run, run_and_log
from tests.support.ports import free_port
from tests.support.waiting import BUSY_SECONDS

from linkspan_propagation.testing import ExportedSpan, OtlpReceiver
from linkspan_propagation.testing.spans import spans_of


def found(way: str, env: Mapping[str, str]) -> dict[str, Any]:
    """Run the child, and return what it tells."""
    result: dict[str, Any] = json.loads(run("telemetry_child.py", way, env=env))
    return result


@contextmanager
def http_collector() -> Generator[tuple[str, list[ExportedSpan]]]:
    """Receive OTLP over HTTP; yields the address and what has arrived."""
    arrived: list[ExportedSpan] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces":
                arrived.extend(spans_of(ExportTraceServiceRequest.FromString(body)))
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", arrived
        finally:
            server.shutdown()
            thread.join()


def test_without_an_endpoint_nothing_is_installed_and_baggage_and_trace_are_carried() -> None:
    assert found("plain", {}) == {
        "installed": False,
        "own": False,
        "global": True,
        "fields": [],
        "textmap": ["baggage", "traceparent", "tracestate"],
        "modules": [],
        "shut_down": True,
        "seconds": pytest.approx(0, abs=BUSY_SECONDS),
        "again": True,
    }


def test_over_grpc_a_span_arrives_with_its_resource() -> None:
    with OtlpReceiver() as receiver:
        result = found("plain", receiver.environ())
        (span,) = receiver.spans()
    assert result["installed"]
    assert result["global"]
    assert result["shut_down"]
    assert not any("http" in module for module in result["modules"])
    assert span.name == "the span"
    assert span.service_name == "ours"
    assert span.resource["service.version"] == "1.2.3"
    assert isinstance(span.resource["service.instance.id"], str)


def test_over_http_a_span_arrives_by_the_default_protocol() -> None:
    with http_collector() as (endpoint, arrived):
        result = found("plain", {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
    assert result["shut_down"]
    assert not any("proto.grpc" in module for module in result["modules"])
    assert [span.name for span in arrived] == ["the span"]


def test_the_names_of_the_environment_win_over_ours() -> None:
    with OtlpReceiver() as receiver:
        found(
            "plain",
            {
                **receiver.environ(),
                "OTEL_SERVICE_NAME": "theirs",
                "OTEL_RESOURCE_ATTRIBUTES": "service.name=no,service.version=9,team=a%20b",
            },
        )
        (span,) = receiver.spans()
    assert span.service_name == "theirs"
    assert span.resource["service.version"] == "9"
    assert span.resource["team"] == "a b"


def test_what_a_process_did_not_shut_down_is_sent_at_its_exit() -> None:
    with OtlpReceiver() as receiver:
        found("exit", receiver.environ())
        assert [span.name for span in receiver.spans()] == ["the span"]


def test_a_provider_that_is_there_already_is_used() -> None:
    with OtlpReceiver() as receiver:
        result = found("present", {**receiver.environ(), "OTEL_TRACES_EXPORTER": "theirs"})
        assert receiver.spans() == []
    assert (result["installed"], result["own"], result["global"]) == (False, True, True)
    assert result["shut_down"]
    assert not any("exporter" in module for module in result["modules"])


def test_disabled_means_that_nothing_is_installed() -> None:
    with OtlpReceiver() as receiver:
        result = found("plain", {**receiver.environ(), "OTEL_SDK_DISABLED": "true"})
        assert receiver.spans() == []
    assert not result["installed"]
    assert result["modules"] == []


def test_a_console_exporter_prints_the_span() -> None:
    printed = run("telemetry_child.py", "plain", env={"OTEL_TRACES_EXPORTER": "console"})
    assert '"name": "the span"' in printed


def test_the_sdks_sampler_is_the_environments() -> None:
    with OtlpReceiver() as receiver:
        result = found("plain", {**receiver.environ(), "OTEL_TRACES_SAMPLER": "always_off"})
        assert receiver.spans() == []
    assert result["installed"]
    assert result["fields"] == ["traceparent"]


def test_propagators_are_chosen_for_this_library_and_for_others_by_the_mapping_given() -> None:
    with OtlpReceiver() as receiver:
        given = {**receiver.environ(), "OTEL_PROPAGATORS": "baggage"}
        result = found("plain", {"GIVEN": json.dumps(given)})
    assert result["installed"]
    assert result["textmap"] == ["baggage"]
    assert result["fields"] == []


def test_a_value_that_cannot_be_honoured_is_one_clear_error() -> None:
    result = found("plain", {"OTEL_PROPAGATORS": "tracecontext", "OTEL_TRACES_EXPORTER": "zipkin"})
    assert result == {
        "error": "OTEL_TRACES_EXPORTER='zipkin' cannot be used: expected otlp, console or none"
    }


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_span_arrives_over_grpc_in_each_compression(compression: str) -> None:
    with OtlpReceiver() as receiver:
        env = {**receiver.environ(), "OTEL_EXPORTER_OTLP_COMPRESSION": compression}
        assert found("plain", env)["shut_down"]
        assert [span.name for span in receiver.spans()] == ["the span"]


def test_what_an_exporter_refuses_is_one_clear_error() -> None:
    env = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:1",
        "OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER": "nobody",
    }
    error = found("plain", env)["error"]
    assert error.startswith("OTEL_EXPORTER_OTLP_*=")
    assert "nobody" in error
    assert "\n" not in error


def test_a_collector_that_never_answers_does_not_hold_up_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
            "SHUT_DOWN_SECONDS": "0.5",
        }
        printed, logged = run_and_log("telemetry_child.py", "plain", env=env)
    result = json.loads(printed)
    assert result["shut_down"] is False
    assert result["again"] is False
    assert 0.4 < result["seconds"] < 0.5 + BUSY_SECONDS
    assert "did not shut down in 0.5 s" in logged


def test_a_collector_that_is_not_there_does_not_hold_up_the_end() -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
        "SHUT_DOWN_SECONDS": "1",
    }
    printed, _ = run_and_log("telemetry_child.py", "plain", env=env)
    assert json.loads(printed)["seconds"] < 1 + BUSY_SECONDS
