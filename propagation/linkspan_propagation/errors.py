"""The errors of this library.

    PropagationError
    └── TelemetryConfigurationError   an OTEL_* variable has a value that cannot be honoured

Owns the tree above and nothing else. Reading a caller's trace context never raises: what a peer
sent wrong is ignored, as W3C Trace Context says. So the one error is about the process's own
set-up.
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
