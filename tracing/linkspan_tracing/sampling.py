"""Which traces are recorded.

Owns the rule that decides it without a call, for the samplers that nearly everybody uses, and reading
``OTEL_TRACES_SAMPLER``. Above lies the tracer, which asks a sampler of another kind for each span.

Each of the six samplers of the specification is one comparison: of the low 64 bits of the trace id
with a bound, for a span without a parent or where parents are not asked
(https://opentelemetry.io/docs/specs/otel/trace/sdk/#built-in-samplers; the comparison is that of
OpenTelemetry's SDK for Python, so that processes with either agree about a trace).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    SpanKind,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.util.types import Attributes

from linkspan_tracing.errors import TracingConfigurationError

_VARIABLE: Final = "OTEL_TRACES_SAMPLER"
_ALL: Final = 1 << 64
LOW_BITS: Final = _ALL - 1


@dataclass(frozen=True, slots=True)
class Rule:
    """A sampler that is one comparison.

    Attributes:
        bound: a trace whose id, its low 64 bits, is below it is sampled: 0 for none, ``1 << 64`` for
            all.
        parent_based: whether a parent decides for its children.
        trusts_remote: whether one in another process does so, too.
    """

    bound: int = _ALL
    parent_based: bool = True
    trusts_remote: bool = True


class UntrustingSampler(Sampler):
    """Decides about the child of a span of another process as ``sampler`` does about a root.

    For the edge of what is one's own: whoever calls may ask for its trace to be continued, and not
    for it to be recorded at somebody else's cost, nor for silence.

    Args:
        sampler: decides; where it is one of OpenTelemetry's that asks the parent, only a parent in
            this process is asked.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide; the caller's ``tracestate`` stays, unless the sampler makes one."""
        parent = get_current_span(parent_context).get_span_context()
        if not (parent.is_valid and parent.is_remote):
            return self._sampler.should_sample(
                parent_context, trace_id, name, kind, attributes, links, trace_state
            )
        result = self._sampler.should_sample(
            set_span_in_context(INVALID_SPAN, parent_context),
            trace_id,
            name,
            kind,
            attributes,
            links,
            parent.trace_state,
        )
        result.trace_state = result.trace_state or parent.trace_state
        return result

    def get_description(self) -> str:
        """Describe it."""
        return f"UntrustingSampler{{{self._sampler.get_description()}}}"


def untrusting(sampler: Rule | Sampler) -> Rule | Sampler:
    """Return what decides as ``sampler`` does, and about the child of a remote span as of a root."""
    if isinstance(sampler, Rule):
        return replace(sampler, trusts_remote=False)
    return UntrustingSampler(sampler)


def share(ratio: float) -> int:
    """Return the bound of a share of all traces, 0 to 1."""
    return round(ratio * _ALL)


def rule_of(sampler: Sampler) -> Rule | None:
    """Return the rule that decides as a sampler of the SDK does; None where there is none."""
    if sampler is ALWAYS_ON:
        return Rule(parent_based=False)
    if sampler is ALWAYS_OFF:
        return Rule(0, parent_based=False)
    if sampler is DEFAULT_ON:
        return Rule()
    if sampler is DEFAULT_OFF:
        return Rule(0)
    if type(sampler) is TraceIdRatioBased:
        return Rule(sampler.bound, parent_based=False)
    return None


def sampler_from_env(environ: Mapping[str, str]) -> Rule | Sampler:
    """Read ``OTEL_TRACES_SAMPLER`` and ``OTEL_TRACES_SAMPLER_ARG``.

    Returns:
        The rule of one of the six samplers of the specification, ``parentbased_always_on`` by default,
        or what an entry point of the group ``opentelemetry_traces_sampler`` makes.

    Raises:
        TracingConfigurationError: there is no such sampler, or its argument cannot be used.
    """
    name = environ.get(_VARIABLE, "").strip().lower() or "parentbased_always_on"
    argument = environ.get(f"{_VARIABLE}_ARG", "").strip()
    kind = name.removeprefix("parentbased_")
    parent_based = name != kind
    if kind == "always_on":
        return Rule(parent_based=parent_based)
    if kind == "always_off":
        return Rule(0, parent_based=parent_based)
    if kind == "traceidratio":
        return Rule(share(_ratio(argument)), parent_based=parent_based)
    for entry_point in entry_points(group="opentelemetry_traces_sampler", name=name):
        try:
            made: object = entry_point.load()(argument)
        except Exception as error:
            raise TracingConfigurationError(
                _VARIABLE, name, "a sampler that can be made"
            ) from error
        if isinstance(made, Sampler):
            return made
    raise TracingConfigurationError(
        _VARIABLE,
        name,
        "always_on, always_off, traceidratio, one of these after parentbased_, or an installed sampler",
    )


def _ratio(argument: str) -> float:
    if not argument:
        return 1.0
    try:
        ratio = float(argument)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise TracingConfigurationError(
            f"{_VARIABLE}_ARG", argument, "a number from 0 to 1, the share of traces to keep"
        )
    return ratio
