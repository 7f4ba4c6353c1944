"""What ``OTEL_*`` variables say, read and judged, before anything is set up.

Pure: a mapping in, a frozen value out. ``telemetry`` lies above and acts on it. OpenTelemetry owns
these names; nothing here adds to them:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
https://opentelemetry.io/docs/specs/otel/protocol/exporter/.

Invariants: an empty value is the same as none (as the specification says); a value that cannot be
honoured is an error that names the variable, never a silent default.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote

from linkspan_propagation.conventions import SERVICE_NAME
from linkspan_propagation.errors import TelemetryConfigurationError
from linkspan_propagation.propagators import Propagators

ExporterName: TypeAlias = Literal["otlp", "console"]
OtlpProtocol: TypeAlias = Literal["grpc", "http/protobuf"]
OtlpCompression: TypeAlias = Literal["gzip", "none"]

_SAMPLERS: Final = frozenset(
    {
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    }
)
_RATIO_SAMPLERS: Final = frozenset({"traceidratio", "parentbased_traceidratio"})
_BATCH_NUMBERS: Final = {
    "OTEL_BSP_SCHEDULE_DELAY": "milliseconds",
    "OTEL_BSP_EXPORT_TIMEOUT": "milliseconds",
    "OTEL_BSP_MAX_QUEUE_SIZE": "spans",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "spans",
}
_DEFAULT_QUEUE_SPANS: Final = 2048
_DEFAULT_BATCH_SPANS: Final = 512


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """What the environment asks for.

    Attributes:
        disabled: ``OTEL_SDK_DISABLED``; nothing is set up. Default false.
        exporters: ``OTEL_TRACES_EXPORTER``, a list of ``otlp``, ``console`` or ``none``. Default
            ``otlp`` where an endpoint is set, else none.
        endpoint: ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``, or else ``OTEL_EXPORTER_OTLP_ENDPOINT``,
            made ready for ``protocol``. None means the exporter's own default, on this host.
        protocol: ``OTEL_EXPORTER_OTLP_TRACES_PROTOCOL``, or else ``OTEL_EXPORTER_OTLP_PROTOCOL``;
            ``grpc`` or ``http/protobuf``. Default ``http/protobuf``, as the specification has it.
        compression: ``OTEL_EXPORTER_OTLP_TRACES_COMPRESSION``, or else
            ``OTEL_EXPORTER_OTLP_COMPRESSION``; ``gzip`` or ``none``. Default ``none``.
        propagators: ``OTEL_PROPAGATORS``, a list of ``tracecontext``, ``baggage`` or ``none``.
            Default both.
        resource: ``OTEL_RESOURCE_ATTRIBUTES``, and ``OTEL_SERVICE_NAME`` as ``service.name``.
    """

    disabled: bool = False
    exporters: tuple[ExporterName, ...] = ()
    endpoint: str | None = None
    protocol: OtlpProtocol = "http/protobuf"
    compression: OtlpCompression = "none"
    propagators: Propagators = field(default_factory=Propagators)
    resource: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "TelemetrySettings":
        """Read the variables.

        Also checked, though the SDK reads them itself: ``OTEL_TRACES_SAMPLER`` and its argument,
        the four ``OTEL_BSP_*`` numbers, and ``OTEL_EXPORTER_OTLP_TIMEOUT``. The SDK logs a bad one
        and goes on with its default, as a rule.

        Raises:
            TelemetryConfigurationError: a value that cannot be honoured.
        """
        disabled = _value(environ, "OTEL_SDK_DISABLED").lower() == "true"
        propagators = _propagators(environ)
        if disabled:
            return cls(disabled=True, propagators=propagators)
        _check_sampler(environ)
        _check_batches(environ)
        _check_timeout(environ)
        protocol = _protocol(environ)
        return cls(
            exporters=_exporters(environ),
            endpoint=_endpoint(environ, protocol),
            protocol=protocol,
            compression=_compression(environ),
            propagators=propagators,
            resource=_resource(environ),
        )


def read_propagators(environ: Mapping[str, str]) -> Propagators:
    """Read ``OTEL_PROPAGATORS`` alone.

    Raises:
        TelemetryConfigurationError: a propagator that this library does not speak.
    """
    return _propagators(environ)


def _value(environ: Mapping[str, str], variable: str) -> str:
    return environ.get(variable, "").strip()


def _list(environ: Mapping[str, str], variable: str) -> list[str]:
    return [item for part in _value(environ, variable).split(",") if (item := part.strip())]


def _propagators(environ: Mapping[str, str]) -> Propagators:
    variable = "OTEL_PROPAGATORS"
    names = _list(environ, variable)
    for name in names:
        if name not in {"tracecontext", "baggage", "none"}:
            raise TelemetryConfigurationError(variable, name, "tracecontext, baggage or none")
    if not names:
        return Propagators()
    if "none" in names:
        return Propagators(trace_context=False, baggage=False)
    return Propagators(trace_context="tracecontext" in names, baggage="baggage" in names)


def _exporters(environ: Mapping[str, str]) -> tuple[ExporterName, ...]:
    variable = "OTEL_TRACES_EXPORTER"
    names = _list(environ, variable)
    if not names:
        return ("otlp",) if _otlp_variable(environ, "ENDPOINT")[1] else ()
    exporters: list[ExporterName] = []
    for name in names:
        if name == "otlp" and "otlp" not in exporters:
            exporters.append("otlp")
        elif name == "console" and "console" not in exporters:
            exporters.append("console")
        elif name not in {"otlp", "console", "none"}:
            raise TelemetryConfigurationError(variable, name, "otlp, console or none")
    return () if "none" in names else tuple(exporters)


def _otlp_variable(environ: Mapping[str, str], what: str) -> tuple[str, str]:
    """Return name and value of the variable for traces, or else of the one for all signals."""
    for variable in (f"OTEL_EXPORTER_OTLP_TRACES_{what}", f"OTEL_EXPORTER_OTLP_{what}"):
        value = _value(environ, variable)
        if value:
            return variable, value
    return f"OTEL_EXPORTER_OTLP_{what}", ""


def _protocol(environ: Mapping[str, str]) -> OtlpProtocol:
    variable, value = _otlp_variable(environ, "PROTOCOL")
    if value == "grpc":
        return "grpc"
    if value in {"", "http/protobuf"}:
        return "http/protobuf"
    raise TelemetryConfigurationError(variable, value, "grpc or http/protobuf")


def _endpoint(environ: Mapping[str, str], protocol: OtlpProtocol) -> str | None:
    variable, value = _otlp_variable(environ, "ENDPOINT")
    if not value:
        return None
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in {"http", "https"} or not rest:
        raise TelemetryConfigurationError(variable, value, "http://host:port or https://host:port")
    if protocol == "http/protobuf" and variable == "OTEL_EXPORTER_OTLP_ENDPOINT":
        # https://opentelemetry.io/docs/specs/otel/protocol/exporter/#endpoint-urls-for-otlphttp: a
        # path of its own for each signal below the common address, none below one for traces.
        return f"{value.rstrip('/')}/v1/traces"
    return value


def _compression(environ: Mapping[str, str]) -> OtlpCompression:
    variable, value = _otlp_variable(environ, "COMPRESSION")
    if value == "gzip":
        return "gzip"
    if value in {"", "none"}:
        return "none"
    raise TelemetryConfigurationError(variable, value, "gzip or none")


def _check_timeout(environ: Mapping[str, str]) -> None:
    variable, value = _otlp_variable(environ, "TIMEOUT")
    try:
        timeout_seconds = float(value or "10")
    except ValueError:
        timeout_seconds = 0.0
    if not 0.0 < timeout_seconds < float("inf"):
        # The specification counts milliseconds, OpenTelemetry for Python seconds.
        raise TelemetryConfigurationError(variable, value, "a number of seconds above 0")


def _resource(environ: Mapping[str, str]) -> Mapping[str, str]:
    variable = "OTEL_RESOURCE_ATTRIBUTES"
    attributes: dict[str, str] = {}
    for pair in _list(environ, variable):
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            raise TelemetryConfigurationError(variable, pair, "key=value,key=value")
        attributes[key.strip()] = unquote(value.strip())
    service_name = _value(environ, "OTEL_SERVICE_NAME")
    if service_name:
        attributes[SERVICE_NAME] = service_name
    return attributes


def _check_sampler(environ: Mapping[str, str]) -> None:
    variable = "OTEL_TRACES_SAMPLER"
    name = _value(environ, variable).lower()
    if not name:
        return
    custom = entry_points(group="opentelemetry_traces_sampler", name=name)
    if name not in _SAMPLERS and not custom:
        raise TelemetryConfigurationError(variable, name, f"one of {', '.join(sorted(_SAMPLERS))}")
    argument = _value(environ, f"{variable}_ARG")
    if name in _RATIO_SAMPLERS and argument:
        try:
            ratio = float(argument)
        except ValueError:
            ratio = -1.0
        if not 0.0 <= ratio <= 1.0:
            raise TelemetryConfigurationError(
                f"{variable}_ARG", argument, "a number from 0 to 1, the share of traces to keep"
            )


def _check_batches(environ: Mapping[str, str]) -> None:
    numbers: dict[str, int] = {}
    for variable, unit in _BATCH_NUMBERS.items():
        text = _value(environ, variable)
        if not text:
            continue
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            raise TelemetryConfigurationError(variable, text, f"a whole number of {unit} above 0")
        numbers[variable] = int(text)
    batch = numbers.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", _DEFAULT_BATCH_SPANS)
    queue = numbers.get("OTEL_BSP_MAX_QUEUE_SIZE", _DEFAULT_QUEUE_SPANS)
    if batch > queue:
        raise TelemetryConfigurationError(
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", str(batch), f"at most the queue's size, {queue} spans"
        )
