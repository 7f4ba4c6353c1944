"""What the `OTEL_*` variables ask for metrics and logs: whether to send them, where, and how.

Pure: a mapping in, a frozen value out. Above lie `metrics` and `log_export`, which act on it. Unlike
spans, metrics and logs go over OTLP only where they are asked for by name, because a common
`OTEL_EXPORTER_OTLP_ENDPOINT` is often a trace backend that takes nothing else.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote

from linkspan_process.errors import StartError

Signal: TypeAlias = Literal["METRICS", "LOGS"]
Protocol: TypeAlias = Literal["grpc", "http/protobuf"]

_PATHS: Final[Mapping[Signal, str]] = {"METRICS": "/v1/metrics", "LOGS": "/v1/logs"}
_EXPORTERS: Final[Mapping[Signal, tuple[str, ...]]] = {
    "METRICS": ("otlp", "prometheus", "none"),
    "LOGS": ("otlp", "none"),
}
_DEFAULT_PROMETHEUS_HOST: Final = "localhost"
_DEFAULT_PROMETHEUS_PORT: Final = 9464
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class SignalSettings:
    """What is asked for one signal.

    Attributes:
        otlp: Whether to send it over OTLP: `OTEL_{SIGNAL}_EXPORTER` names `otlp`, or is not set and
            `OTEL_EXPORTER_OTLP_{SIGNAL}_ENDPOINT` is.
        prometheus: Whether to offer it to Prometheus (`prometheus`; metrics only).
        protocol: `OTEL_EXPORTER_OTLP_{SIGNAL}_PROTOCOL`, or the one for all signals.
        endpoint: Where to send it; None for the exporter's own default, on this host.
        gzips: Whether to compress it.
    """

    otlp: bool = False
    prometheus: bool = False
    protocol: Protocol = "http/protobuf"
    endpoint: str | None = None
    gzips: bool = False

    @classmethod
    def from_env(cls, signal: Signal, environ: Mapping[str, str]) -> "SignalSettings":
        """Read the variables of a signal.

        Raises:
            StartError: A variable has a value that cannot be honoured.
        """
        if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return cls()
        names = _exporters(signal, environ)
        if not names:
            return cls()
        protocol = _protocol(signal, environ)
        return cls(
            otlp="otlp" in names,
            prometheus="prometheus" in names,
            protocol=protocol,
            endpoint=_endpoint(signal, environ, protocol),
            gzips=_gzips(signal, environ),
        )


def prometheus_address(environ: Mapping[str, str]) -> tuple[str, int]:
    """Read where Prometheus finds metrics: `OTEL_EXPORTER_PROMETHEUS_HOST` and `_PORT`.

    Raises:
        StartError: The port is none.
    """
    host = _value(environ, "OTEL_EXPORTER_PROMETHEUS_HOST") or _DEFAULT_PROMETHEUS_HOST
    variable = "OTEL_EXPORTER_PROMETHEUS_PORT"
    text = _value(environ, variable) or str(_DEFAULT_PROMETHEUS_PORT)
    if not (text.isascii() and text.isdigit() and int(text) <= _MAX_PORT):
        raise _refused(variable, text, "a port from 0 to 65535")
    # A name may stand for two addresses of this machine; one is what is wanted.
    return ("127.0.0.1" if host == "localhost" else host), int(text)


def resource_attributes(environ: Mapping[str, str]) -> dict[str, str]:
    """Read `OTEL_RESOURCE_ATTRIBUTES`, and `OTEL_SERVICE_NAME` as `service.name`.

    A pair that is none is left out here; the set-up of tracing refuses it.
    """
    attributes: dict[str, str] = {}
    for pair in _value(environ, "OTEL_RESOURCE_ATTRIBUTES").split(","):
        key, separator, value = pair.partition("=")
        if separator and key.strip():
            attributes[key.strip()] = unquote(value.strip())
    name = _value(environ, "OTEL_SERVICE_NAME")
    if name:
        attributes["service.name"] = name
    return attributes


def _value(environ: Mapping[str, str], variable: str) -> str:
    return environ.get(variable, "").strip()


def _exporters(signal: Signal, environ: Mapping[str, str]) -> frozenset[str]:
    variable = f"OTEL_{signal}_EXPORTER"
    names = frozenset(
        item for part in _value(environ, variable).split(",") if (item := part.strip())
    )
    for name in sorted(names):
        if name not in _EXPORTERS[signal]:
            raise _refused(variable, name, " or ".join(_EXPORTERS[signal]))
    if not names and _value(environ, f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"):
        return frozenset({"otlp"})
    return frozenset() if "none" in names else names


def _otlp_variable(signal: Signal, environ: Mapping[str, str], what: str) -> tuple[str, str]:
    """Return name and value of the variable for the signal, or else of the one for all signals."""
    for variable in (f"OTEL_EXPORTER_OTLP_{signal}_{what}", f"OTEL_EXPORTER_OTLP_{what}"):
        value = _value(environ, variable)
        if value:
            return variable, value
    return f"OTEL_EXPORTER_OTLP_{what}", ""


def _protocol(signal: Signal, environ: Mapping[str, str]) -> Protocol:
    variable, value = _otlp_variable(signal, environ, "PROTOCOL")
    if value == "grpc":
        return "grpc"
    if value in {"", "http/protobuf"}:
        return "http/protobuf"
    raise _refused(variable, value, "grpc or http/protobuf")


def _endpoint(signal: Signal, environ: Mapping[str, str], protocol: Protocol) -> str | None:
    variable, value = _otlp_variable(signal, environ, "ENDPOINT")
    if not value:
        return None
    if not value.startswith(("http://", "https://")):
        raise _refused(variable, value, "http://host:port or https://host:port")
    if protocol == "http/protobuf" and variable == "OTEL_EXPORTER_OTLP_ENDPOINT":
        return value.rstrip("/") + _PATHS[signal]
    return value


def _gzips(signal: Signal, environ: Mapping[str, str]) -> bool:
    variable, value = _otlp_variable(signal, environ, "COMPRESSION")
    if value in {"", "none", "gzip"}:
        return value == "gzip"
    raise _refused(variable, value, "gzip or none")


def _refused(variable: str, value: str, expected: str) -> StartError:
    return StartError(f"{variable}={value!r} cannot be used: expected {expected}")
