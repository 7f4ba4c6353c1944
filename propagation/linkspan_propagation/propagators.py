"""What this process carries: trace context and baggage, or less.

Owns one process-wide choice, the counterpart of OpenTelemetry's global propagator, made once from
``OTEL_PROPAGATORS`` by ``telemetry`` and read by ``carriers`` at each call. Pure otherwise.

Invariant: without a choice both are carried, which is the default of
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#general-sdk-configuration.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Propagators:
    """Which fields cross a process boundary.

    Attributes:
        trace_context: ``traceparent`` and ``tracestate``.
        baggage: ``baggage``.
    """

    trace_context: bool = True
    baggage: bool = True


class _Chosen:
    """The choice of the process, replaced as a whole: a reader never sees half of it."""

    now = Propagators()


def propagators_in_use() -> Propagators:
    """Return the choice of this process."""
    return _Chosen.now


def use_propagators(chosen: Propagators) -> None:
    """Set the choice of this process. Meant for start-up: calls under way may see either choice."""
    _Chosen.now = chosen
