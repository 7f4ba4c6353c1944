"""The errors of this library.

    TracingError
    └── TracingConfigurationError   an OTEL_* variable has a value that cannot be honoured

Owns the tree above and nothing else. Recording and exporting spans never raise: what cannot be
recorded or sent is dropped and counted.
"""


class TracingError(Exception):
    """Base of every error that this library raises."""


class TracingConfigurationError(TracingError, ValueError):
    """An environment variable of OpenTelemetry has a value that cannot be honoured.

    The message is one line: the variable, its value, and the values that are possible.

    Attributes:
        variable: name of the variable, such as ``OTEL_TRACES_SAMPLER``.
    """

    def __init__(self, variable: str, value: str, expected: str) -> None:
        super().__init__(f"{variable}={value!r} cannot be used: expected {expected}")
        self.variable = variable
