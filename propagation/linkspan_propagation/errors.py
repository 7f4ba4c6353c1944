"""The errors of this library.

    PropagationError
    ├── TelemetryConfigurationError   an OTEL_* variable has a value that cannot be honoured
    ├── MetadataCaptureError          a metadata key that may not become an attribute
    └── InstrumentationMissingError   opentelemetry-instrumentation-grpc is not installed

Owns the tree above and nothing else. Reading a caller's trace context never raises: what a peer
sent wrong is ignored, as W3C Trace Context says. So all errors are about the process's own set-up.
"""


class PropagationError(Exception):
    """Base of every error that this library raises."""


class TelemetryConfigurationError(PropagationError, ValueError):
    """An environment variable of OpenTelemetry has a value that cannot be honoured.

    The message is one line: the variable, its value, and the values that are possible.

    Attributes:
        variable: name of the variable, such as ``OTEL_TRACES_EXPORTER``.
    """

    def __init__(self, variable: str, value: str, expected: str) -> None:
        super().__init__(f"{variable}={value!r} cannot be used: expected {expected}")
        self.variable = variable


class MetadataCaptureError(PropagationError, ValueError):
    """A metadata key is asked for as an attribute that may not become one.

    Attributes:
        key: the key as it was given.
    """

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"metadata key {key!r} cannot be captured: {why}")
        self.key = key


class InstrumentationMissingError(PropagationError, ImportError):
    """The package opentelemetry-instrumentation-grpc is asked for and not installed."""

    def __init__(self) -> None:
        super().__init__("install opentelemetry-instrumentation-grpc to use its interceptors")
