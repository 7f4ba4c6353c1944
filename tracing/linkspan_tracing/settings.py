"""Where spans are sent and in what batches, as the ``OTEL_*`` variables say.

Pure: a mapping in, frozen values out. OpenTelemetry owns the names; nothing here adds to them:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
https://opentelemetry.io/docs/specs/otel/protocol/exporter/.

Invariants: a variable for traces wins over the one for all signals; an empty value is the same as none;
a value that cannot be honoured is an error that names the variable, never a silent default.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from opentelemetry.util.re import parse_env_headers

from linkspan_tracing.errors import TracingConfigurationError

Protocol: TypeAlias = Literal["grpc", "http/protobuf"]
Compression: TypeAlias = Literal["gzip", "none"]

_DEFAULT_ENDPOINTS: Final[Mapping[Protocol, str]] = {
    "grpc": "http://localhost:4317",
    "http/protobuf": "http://localhost:4318",
}
_DELEGATED: Final = (
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_GRPC_TRACES_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
)
"""Variables of OpenTelemetry for Python that name a plug-in of its exporters, which are unused here."""


@dataclass(frozen=True, slots=True)
class Batching:
    """When spans are sent, and how many wait.

    Attributes:
        delay_seconds: how long a span waits for others; ``OTEL_BSP_SCHEDULE_DELAY``, there in
            milliseconds. Default 5.
        queue_spans: how many may wait; more are dropped. ``OTEL_BSP_MAX_QUEUE_SIZE``, default 2048.
        batch_spans: how many are sent at once, and from how many on none waits.
            ``OTEL_BSP_MAX_EXPORT_BATCH_SIZE``, default 512, or the queue's size if that is less.
        timeout_seconds: how long one batch may take, with everything tried again;
            ``OTEL_BSP_EXPORT_TIMEOUT``, there in milliseconds. Default 30. The destination's own
            timeout counts too, whichever is shorter.
    """

    delay_seconds: float = 5.0
    queue_spans: int = 2048
    batch_spans: int = 512
    timeout_seconds: float = 30.0

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Batching":
        """Read the variables.

        Raises:
            TracingConfigurationError: one is no whole number above 0, or a batch is larger than the
                queue.
        """
        delay = _number(environ, "OTEL_BSP_SCHEDULE_DELAY", 5000)
        queue = _number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 2048)
        batch = _number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(512, queue))
        timeout = _number(environ, "OTEL_BSP_EXPORT_TIMEOUT", 30000)
        if batch > queue:
            raise TracingConfigurationError(
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
                str(batch),
                f"at most the queue's size, {queue} spans",
            )
        return cls(delay / 1000, queue, batch, timeout / 1000)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where spans are sent.

    Each is a variable ``OTEL_EXPORTER_OTLP_TRACES_*``, or else ``OTEL_EXPORTER_OTLP_*``.

    Attributes:
        protocol: ``PROTOCOL``: ``grpc``, or ``http/protobuf``, the default.
        endpoint: ``ENDPOINT``, ready for the protocol: for gRPC ``host:port``, for HTTP an address
            with its path. Default port 4317 or 4318 of this host.
        secure: whether TLS is spoken: what the endpoint's scheme says, and for gRPC, where it has
            none, ``INSECURE``.
        headers: ``HEADERS``, ``key=value`` pairs with commas between. Names in lower case.
        compression: ``COMPRESSION``: ``gzip``, or ``none``, the default.
        timeout_seconds: ``TIMEOUT``, in seconds as OpenTelemetry for Python reads it. Default 10.
        certificate: ``CERTIFICATE``, a file of certificates to trust. None for the system's.
        client_key: ``CLIENT_KEY``, a file. None for no certificate of one's own.
        client_certificate: ``CLIENT_CERTIFICATE``, a file.
    """

    protocol: Protocol = "http/protobuf"
    endpoint: str = "http://localhost:4318/v1/traces"
    secure: bool = False
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    compression: Compression = "none"
    timeout_seconds: float = 10.0
    certificate: Path | None = None
    client_key: Path | None = None
    client_certificate: Path | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Destination":
        """Read the variables.

        Raises:
            TracingConfigurationError: one has a value that cannot be honoured. Files are opened only
                where they are used.
        """
        for variable in _DELEGATED:
            if environ.get(variable, "").strip():
                raise TracingConfigurationError(
                    variable, environ[variable], "no value, or to trace with OpenTelemetry's SDK"
                )
        protocol = _protocol(environ)
        endpoint, secure = _endpoint(environ, protocol)
        return cls(
            protocol=protocol,
            endpoint=endpoint,
            secure=secure,
            headers=parse_env_headers(_of_traces(environ, "HEADERS")[1], liberal=True),
            compression=_compression(environ),
            timeout_seconds=_timeout(environ),
            certificate=_file(environ, "CERTIFICATE"),
            client_key=_file(environ, "CLIENT_KEY"),
            client_certificate=_file(environ, "CLIENT_CERTIFICATE"),
        )


def _of_traces(environ: Mapping[str, str], what: str) -> tuple[str, str]:
    """Return name and value of the variable for traces, or else of the one for all signals."""
    for variable in (f"OTEL_EXPORTER_OTLP_TRACES_{what}", f"OTEL_EXPORTER_OTLP_{what}"):
        value = environ.get(variable, "").strip()
        if value:
            return variable, value
    return f"OTEL_EXPORTER_OTLP_{what}", ""


def _number(environ: Mapping[str, str], variable: str, default: int) -> int:
    text = environ.get(variable, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise TracingConfigurationError(variable, text, "a whole number above 0")
    return int(text)


def _protocol(environ: Mapping[str, str]) -> Protocol:
    variable, value = _of_traces(environ, "PROTOCOL")
    if value == "grpc":
        return "grpc"
    if value in {"", "http/protobuf"}:
        return "http/protobuf"
    raise TracingConfigurationError(variable, value, "grpc or http/protobuf")


def _endpoint(environ: Mapping[str, str], protocol: Protocol) -> tuple[str, bool]:
    variable, value = _of_traces(environ, "ENDPOINT")
    address = value or _DEFAULT_ENDPOINTS[protocol]
    try:
        parts = urlsplit(address)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        known = False
    if not known:
        raise TracingConfigurationError(variable, value, "http://host:port or https://host:port")
    parts = urlsplit(address)
    secure = parts.scheme == "https"
    if protocol == "grpc":
        # https://opentelemetry.io/docs/specs/otel/protocol/exporter/: INSECURE is for an endpoint
        # without a scheme. The SDK for Python lets it take TLS from http, never from https.
        if not secure:
            secure = _of_traces(environ, "INSECURE")[1].lower() not in {"", "true"}
        return parts.netloc, secure
    if variable == "OTEL_EXPORTER_OTLP_ENDPOINT":
        # A path of its own for each signal below the common address, none below one for traces.
        address = f"{address.rstrip('/')}/v1/traces"
    return address, secure


def _compression(environ: Mapping[str, str]) -> Compression:
    variable, value = _of_traces(environ, "COMPRESSION")
    if value.lower() == "gzip":
        return "gzip"
    if value.lower() in {"", "none"}:
        return "none"
    raise TracingConfigurationError(variable, value, "gzip or none")


def _timeout(environ: Mapping[str, str]) -> float:
    variable, value = _of_traces(environ, "TIMEOUT")
    try:
        timeout_seconds = float(value or "10")
    except ValueError:
        timeout_seconds = 0.0
    if not 0.0 < timeout_seconds < float("inf"):
        raise TracingConfigurationError(variable, value, "a number of seconds above 0")
    return timeout_seconds


def _file(environ: Mapping[str, str], what: str) -> Path | None:
    value = _of_traces(environ, what)[1]
    return Path(value) if value else None
