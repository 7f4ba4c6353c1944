"""What the OTEL_* variables ask for metrics and logs."""

import pytest

from linkspan_process.errors import StartError
from linkspan_process.signals import (
    Signal,
    SignalSettings,
    prometheus_address,
    resource_attributes,
)

COMMON = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"}


@pytest.mark.parametrize(
    ("signal", "environ", "expected"),
    [
        ("METRICS", {}, SignalSettings()),
        ("METRICS", COMMON, SignalSettings()),  # often a trace backend
        ("METRICS", {"OTEL_METRICS_EXPORTER": "none"}, SignalSettings()),
        ("METRICS", {"OTEL_METRICS_EXPORTER": "otlp,none"}, SignalSettings()),
        ("METRICS", {"OTEL_METRICS_EXPORTER": " "}, SignalSettings()),
        (
            "METRICS",
            {**COMMON, "OTEL_METRICS_EXPORTER": "otlp"},
            SignalSettings(otlp=True, endpoint="http://collector:4318/v1/metrics"),
        ),
        (
            "LOGS",
            {**COMMON, "OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"},
            SignalSettings(otlp=True, endpoint="http://collector:4318/v1/logs", gzips=True),
        ),
        (
            "METRICS",
            {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://metrics:1/there"},
            SignalSettings(otlp=True, endpoint="http://metrics:1/there"),
        ),
        (
            "METRICS",
            {
                **COMMON,
                "OTEL_METRICS_EXPORTER": "prometheus, otlp",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            },
            SignalSettings(
                otlp=True, prometheus=True, protocol="grpc", endpoint="http://collector:4318/"
            ),
        ),
        (
            "METRICS",
            {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"},
            SignalSettings(),
        ),
    ],
)
def test_what_is_asked_for_is_what_the_variables_say(
    signal: Signal, environ: dict[str, str], expected: SignalSettings
) -> None:
    assert SignalSettings.from_env(signal, environ) == expected


@pytest.mark.parametrize(
    ("signal", "environ"),
    [
        ("METRICS", {"OTEL_METRICS_EXPORTER": "graphite"}),
        ("LOGS", {"OTEL_LOGS_EXPORTER": "prometheus"}),
        ("LOGS", {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}),
        ("LOGS", {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "there:1"}),
        ("LOGS", {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_COMPRESSION": "zip"}),
    ],
)
def test_a_value_that_cannot_be_honoured_is_named(signal: Signal, environ: dict[str, str]) -> None:
    variable = next(reversed(environ))
    with pytest.raises(StartError, match=variable):
        SignalSettings.from_env(signal, environ)


def test_prometheus_is_on_loopback_unless_told_otherwise() -> None:
    assert prometheus_address({}) == ("127.0.0.1", 9464)
    told = {"OTEL_EXPORTER_PROMETHEUS_HOST": "0.0.0.0", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}  # noqa: S104
    assert prometheus_address(told) == ("0.0.0.0", 0)  # noqa: S104
    with pytest.raises(StartError, match="OTEL_EXPORTER_PROMETHEUS_PORT"):
        prometheus_address({"OTEL_EXPORTER_PROMETHEUS_PORT": "70000"})


def test_a_resource_is_what_the_variables_say() -> None:
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "a=b%20c, d=e,junk", "OTEL_SERVICE_NAME": "mine"}
    assert resource_attributes(environ) == {"a": "b c", "d": "e", "service.name": "mine"}
