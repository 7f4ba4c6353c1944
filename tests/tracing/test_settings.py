"""What the environment says, and what it may not say."""

from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from tests.requirements import requirement

from linkspan_tracing import (
    Batching,
    Destination,
    SpanLimits,
    TracingConfigurationError,
    provider_from_env,
)

OTLP = "OTEL_EXPORTER_OTLP_"


@requirement("tracing.variables")
@pytest.mark.parametrize(
    ("environ", "endpoint", "secure"),
    [
        ({}, "http://localhost:4318/v1/traces", False),
        ({"ENDPOINT": "https://c:1/base/"}, "https://c:1/base/v1/traces", True),
        ({"TRACES_ENDPOINT": "http://c:1/as/it/is"}, "http://c:1/as/it/is", False),
        ({"PROTOCOL": "grpc"}, "localhost:4317", False),
        ({"PROTOCOL": "grpc", "ENDPOINT": "http://c:1/ignored"}, "c:1", False),
        ({"PROTOCOL": "grpc", "ENDPOINT": "https://c:1", "INSECURE": "true"}, "c:1", True),
        ({"PROTOCOL": "grpc", "ENDPOINT": "http://c:1", "INSECURE": "false"}, "c:1", True),
        (
            {"PROTOCOL": "http/protobuf", "TRACES_PROTOCOL": "grpc", "ENDPOINT": "http://c:1"},
            "c:1",
            False,
        ),
    ],
)
def test_an_endpoint_is_made_ready_for_its_protocol(
    environ: dict[str, str], endpoint: str, secure: bool
) -> None:
    read = Destination.from_env({OTLP + key: value for key, value in environ.items()})
    assert (read.endpoint, read.secure) == (endpoint, secure)


@requirement("tracing.variables")
def test_what_is_said_for_traces_wins() -> None:
    environ = {
        "TIMEOUT": "1",
        "TRACES_TIMEOUT": "2.5",
        "COMPRESSION": "gzip",
        "TRACES_COMPRESSION": " ",
        "CERTIFICATE": "/a",
        "TRACES_CERTIFICATE": "/b",
        "CLIENT_KEY": "/k",
        "TRACES_CLIENT_CERTIFICATE": "/c",
    }
    read = Destination.from_env({OTLP + key: value for key, value in environ.items()})
    assert (read.timeout_seconds, read.compression) == (2.5, "gzip")
    assert (read.certificate, read.client_key, read.client_certificate) == (
        Path("/b"),
        Path("/k"),
        Path("/c"),
    )


@requirement("tracing.variables")
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (f"{OTLP}PROTOCOL", "http/json"),
        (f"{OTLP}TRACES_PROTOCOL", "x"),
        (f"{OTLP}ENDPOINT", "localhost:4317"),
        (f"{OTLP}ENDPOINT", "http://c:port"),
        (f"{OTLP}COMPRESSION", "deflate"),
        (f"{OTLP}TIMEOUT", "0"),
        (f"{OTLP}TRACES_TIMEOUT", "soon"),
        (f"{OTLP}TRACES_CERTIFICATE", "/nowhere"),
        ("OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER", "x"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "-1"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "-1"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "few"),
        ("OTEL_TRACES_SAMPLER", "some"),
    ],
)
def test_what_cannot_be_honoured_is_an_error_that_names_it(variable: str, value: str) -> None:
    environ = {f"{OTLP}ENDPOINT": "https://localhost:1", variable: value}
    expected = "CERTIFICATE" if "CERTIFICATE" in variable else variable
    with pytest.raises(TracingConfigurationError, match=expected) as caught:
        provider_from_env(environ, Resource({}))
    assert "\n" not in str(caught.value)


def test_batches_are_read_in_milliseconds_and_fit_a_small_queue() -> None:
    assert Batching.from_env({}) == Batching(5.0, 2048, 512, 30.0)
    read = Batching.from_env(
        {
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_BSP_MAX_QUEUE_SIZE": "100",
            "OTEL_BSP_EXPORT_TIMEOUT": "1500",
        }
    )
    assert read == Batching(0.05, 100, 100, 1.5)


def test_limits_of_spans_win_over_those_of_all() -> None:
    assert SpanLimits.from_env({}) == SpanLimits()
    read = SpanLimits.from_env(
        {
            "OTEL_ATTRIBUTE_COUNT_LIMIT": "10",
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "20",
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "30",
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "40",
            "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "0",
            "OTEL_SPAN_EVENT_COUNT_LIMIT": "5",
            "OTEL_SPAN_LINK_COUNT_LIMIT": " ",
        }
    )
    assert read == SpanLimits(20, 40, 5, 128, 10, 0, 30)
