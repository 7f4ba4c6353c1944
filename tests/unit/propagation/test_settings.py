"""OTEL_* variables: what they mean, and which of their values are refused."""

import pytest

from linkspan_propagation import TelemetryConfigurationError
from linkspan_propagation.propagators import Propagators
from linkspan_propagation.settings import TelemetrySettings

ENDPOINT = "http://collector:4317"


def settings(**variables: str) -> TelemetrySettings:
    return TelemetrySettings.from_env(variables)


def test_an_empty_environment_asks_for_nothing_and_carries_both_fields() -> None:
    assert settings() == TelemetrySettings(
        exporters=(), endpoint=None, protocol="http/protobuf", propagators=Propagators()
    )


def test_an_endpoint_alone_asks_for_otlp_over_http_as_the_specification_has_it() -> None:
    found = settings(OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318/")
    assert found.exporters == ("otlp",)
    assert found.protocol == "http/protobuf"
    assert found.endpoint == "http://collector:4318/v1/traces"


def test_an_endpoint_for_traces_is_taken_as_it_is_and_comes_first() -> None:
    found = settings(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://other:4318",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://collector:4318/here",
    )
    assert found.endpoint == "http://collector:4318/here"


def test_a_grpc_endpoint_gets_no_path() -> None:
    found = settings(OTEL_EXPORTER_OTLP_ENDPOINT=ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert (found.protocol, found.endpoint) == ("grpc", ENDPOINT)


def test_the_protocol_for_traces_comes_before_the_one_for_all() -> None:
    found = settings(
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc", OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="http/protobuf"
    )
    assert found.protocol == "http/protobuf"


@pytest.mark.parametrize(
    ("value", "exporters"),
    [
        ("otlp", ("otlp",)),
        ("console", ("console",)),
        ("none", ()),
        ("otlp, console,otlp", ("otlp", "console")),
        ("console,none", ()),
        ("", ()),
    ],
)
def test_exporters_are_the_ones_listed(value: str, exporters: tuple[str, ...]) -> None:
    assert settings(OTEL_TRACES_EXPORTER=value).exporters == exporters


def test_none_wins_over_an_endpoint() -> None:
    assert (
        settings(OTEL_TRACES_EXPORTER="none", OTEL_EXPORTER_OTLP_ENDPOINT=ENDPOINT).exporters == ()
    )


@pytest.mark.parametrize(
    ("value", "propagators"),
    [
        ("tracecontext,baggage", Propagators()),
        ("tracecontext", Propagators(baggage=False)),
        ("baggage", Propagators(trace_context=False)),
        ("none", Propagators(trace_context=False, baggage=False)),
        ("tracecontext,none", Propagators(trace_context=False, baggage=False)),
        ("", Propagators()),
    ],
)
def test_propagators_are_the_ones_listed(value: str, propagators: Propagators) -> None:
    assert settings(OTEL_PROPAGATORS=value).propagators == propagators


def test_the_resource_is_read_and_the_service_name_comes_first() -> None:
    found = settings(
        OTEL_RESOURCE_ATTRIBUTES="service.name=a, deployment=blue%2Cgreen,empty=",
        OTEL_SERVICE_NAME="b",
    )
    assert found.resource == {"service.name": "b", "deployment": "blue,green", "empty": ""}


def test_the_compression_for_traces_comes_before_the_one_for_all() -> None:
    found = settings(
        OTEL_EXPORTER_OTLP_COMPRESSION="none", OTEL_EXPORTER_OTLP_TRACES_COMPRESSION="gzip"
    )
    assert found.compression == "gzip"


@pytest.mark.parametrize("value", ["true", "TRUE", " true "])
def test_disabling_asks_for_nothing_else(value: str) -> None:
    found = settings(OTEL_SDK_DISABLED=value, OTEL_TRACES_EXPORTER="what is this")
    assert found == TelemetrySettings(disabled=True)


@pytest.mark.parametrize("value", ["false", "1", "yes", ""])
def test_only_true_disables(value: str) -> None:
    assert not settings(OTEL_SDK_DISABLED=value).disabled


@pytest.mark.parametrize(
    ("variable", "value", "also"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", {}),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", {}),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "GRPC", {}),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", {}),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector", {}),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://", {}),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip", {}),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "deflate", {}),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", {}),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", {}),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "inf", {}),
        ("OTEL_PROPAGATORS", "tracecontext,b3", {}),
        ("OTEL_RESOURCE_ATTRIBUTES", "no-equals-sign", {}),
        ("OTEL_RESOURCE_ATTRIBUTES", "=value", {}),
        ("OTEL_TRACES_SAMPLER", "sometimes", {}),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5", {"OTEL_TRACES_SAMPLER": "traceidratio"}),
        ("OTEL_TRACES_SAMPLER_ARG", "half", {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}),
        ("OTEL_TRACES_SAMPLER_ARG", "nan", {"OTEL_TRACES_SAMPLER": "traceidratio"}),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon", {}),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", {}),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-5", {}),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096", {}),
    ],
)
def test_a_value_that_cannot_be_honoured_is_one_clear_line(
    variable: str, value: str, also: dict[str, str]
) -> None:
    with pytest.raises(TelemetryConfigurationError) as caught:
        TelemetrySettings.from_env({variable: value, **also})
    assert caught.value.variable == variable
    message = str(caught.value)
    assert message.startswith(f"{variable}=")
    assert "expected" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
        {"OTEL_TRACES_SAMPLER": "always_off", "OTEL_TRACES_SAMPLER_ARG": "whatever"},
        {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096", "OTEL_BSP_MAX_QUEUE_SIZE": "4096"},
        {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_BSP_EXPORT_TIMEOUT": "1000"},
        {"OTEL_EXPORTER_OTLP_TIMEOUT": "2.5", "OTEL_EXPORTER_OTLP_COMPRESSION": "none"},
    ],
)
def test_good_values_that_the_sdk_reads_are_accepted(variables: dict[str, str]) -> None:
    assert TelemetrySettings.from_env(variables) == TelemetrySettings()
