"""Starting spans.

Owns ids, the sampling decision and the context of a new span. Above lies the provider, which makes
tracers; below lie ``span``, ``sampling`` and ``limits``.

Invariant: starting a span never raises because of what is to be recorded; a sampler that raises costs
the span.
"""

import functools
import inspect
import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from contextvars import Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeAlias, cast

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
)
from opentelemetry.util.types import Attributes as AnyAttributes

from linkspan_tracing.rarely import RareWarning
from linkspan_tracing.sampling import LOW_BITS, Rule, rule_of
from linkspan_tracing.span import LeanSpan, Origin

_LOGGER: Final = logging.getLogger(__name__)
_SAMPLER_RAISED: Final = RareWarning(_LOGGER)

_SAMPLED: Final = int(TraceFlags.SAMPLED)
_RANDOM: Final = int(TraceFlags.RANDOM_TRACE_ID)
_FLAGS: Final = tuple(TraceFlags(bits) for bits in range(4))
"""All flags that there are, by their bits: sampled, and that the trace id is random
(https://www.w3.org/TR/trace-context-2/#trace-flags)."""


@dataclass(frozen=True, slots=True)
class Ids:
    """Where ids come from.

    Attributes:
        new_span_id: returns 64 bits.
        new_trace_id: returns 128 bits.
        random_bits: the trace flag that says that trace ids are random, or 0.
    """

    new_span_id: Callable[[], int]
    new_trace_id: Callable[[], int]
    random_bits: int

    @classmethod
    def random(cls) -> "Ids":
        """Return a source of random ids, of a generator that nobody else seeds.

        A program that seeds ``random`` for itself would repeat the ids of its last run. A forked child
        gets a seed of its own.
        """
        source = random.Random(os.urandom(32))  # noqa: S311 - ids are no secrets
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: source.seed(os.urandom(32)))
        bits = source.getrandbits
        return cls(functools.partial(bits, 64), functools.partial(bits, 128), _RANDOM)

    @classmethod
    def of(cls, generator: IdGenerator) -> "Ids":
        """Return the ids of a generator of the SDK."""
        bits = _RANDOM if generator.is_trace_id_random() else 0
        return cls(generator.generate_span_id, generator.generate_trace_id, bits)


_Fields: TypeAlias = tuple[int, int, bool, TraceFlags, TraceState, bool]


def _fields_of(context: SpanContext) -> _Fields:
    return (
        context.trace_id,
        context.span_id,
        context.is_remote,
        context.trace_flags,
        context.trace_state,
        context.is_valid,
    )


def _context_of(kind: type[SpanContext], fields: _Fields) -> SpanContext:
    return kind(*fields[:5])


# A context is a tuple that checks what it is made of. Here that is known to be right, and it is made
# and read in half the time, as long as a context is what it was when this was written.
_PROBE: Final = SpanContext(1, 2, False, _FLAGS[1], trace.DEFAULT_TRACE_STATE)
_KNOWN: Final = tuple(_PROBE) == _fields_of(_PROBE)
_new_context: Final[Callable[[type[SpanContext], _Fields], SpanContext]] = (
    cast("Any", tuple).__new__ if _KNOWN else _context_of
)


class _Decision(NamedTuple):
    """What a sampler of the SDK says: whether to record, whether to export, and with what."""

    recorded: bool
    sampled: bool
    attributes: AnyAttributes
    state: TraceState


class LeanTracer(trace.Tracer):
    """Starts spans of one instrumentation scope. Made by ``LeanTracerProvider``.

    Args:
        origin: what its spans have in common.
        sampler: which traces are recorded.
        ids: where ids come from.
    """

    def __init__(self, origin: Origin, sampler: Rule | Sampler, ids: Ids) -> None:
        self._origin = origin
        self._rule = sampler if isinstance(sampler, Rule) else rule_of(sampler)
        self._sampler: Sampler = ALWAYS_ON if isinstance(sampler, Rule) else sampler
        self._new_span_id = ids.new_span_id
        self._new_trace_id = ids.new_trace_id
        # As the SDK does: a root says whether its id is random, a child what its parent said.
        self._root_bits = ids.random_bits

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: AnyAttributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        """Start a span, as the API describes it, without making it the current one.

        Args:
            name: what is done; may be changed until its end.
            context: where its parent is looked for; None for the current context.
            kind: its relation to parent and children.
            attributes: of the span.
            links: to other spans. One without an id, a state or attributes is ignored.
            start_time: nanoseconds since the epoch; None for now.
            record_exception: whether an exception that leaves its ``with`` block becomes an event.
            set_status_on_exception: whether it sets the status.

        Returns:
            A ``LeanSpan``, or one that records nothing where the trace is not sampled.
        """
        current = trace.get_current_span(context).get_span_context()
        parent: SpanContext | None = None
        if current.is_valid:
            parent = current
            trace_id, _, _, flags, state, _ = parent if _KNOWN else _fields_of(parent)
            bits = flags & 3
        else:
            trace_id = self._new_trace_id() or 1
            bits = self._root_bits
            state = trace.DEFAULT_TRACE_STATE
        rule = self._rule
        if rule is None:
            asked = self._ask(context, trace_id, name, kind, attributes, links)
            recorded, sampled = asked.recorded, asked.sampled
            attributes, state = asked.attributes, asked.state
        elif (
            parent is not None
            and rule.parent_based
            and (rule.trusts_remote or not parent.is_remote)
        ):
            recorded = sampled = bits & _SAMPLED != 0
        else:
            recorded = sampled = (trace_id & LOW_BITS) < rule.bound
        bits = bits & _RANDOM | (1 if sampled else 0)
        fields = (trace_id, self._new_span_id() or 1, False, _FLAGS[bits], state, True)
        own = _new_context(SpanContext, fields)
        if not recorded:
            return NonRecordingSpan(own)
        start = time.time_ns() if start_time is None else start_time
        origin = self._origin
        span = LeanSpan(origin, name, own, parent, kind, start)
        if attributes:
            span.describe(attributes)
        if links:
            span.add_links(links)
        if not sampled:
            span.sampled = False
        elif origin.open_spans is not None:
            origin.open_spans[own.span_id] = span
        if not (record_exception and set_status_on_exception):
            span.on_exception = (record_exception, set_status_on_exception)
        if origin.processors.any:
            origin.processors.on_start(span, context)
        return span

    def _ask(
        self,
        context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind,
        attributes: AnyAttributes,
        links: Sequence[Link] | None,
    ) -> "_Decision":
        """Ask the sampler, which is somebody else's."""
        try:
            asked: Any = self._sampler.should_sample(
                context, trace_id, name, kind, attributes, links or ()
            )
            return _Decision(
                asked.decision is not Decision.DROP,
                asked.decision is Decision.RECORD_AND_SAMPLE,
                asked.attributes,
                asked.trace_state or trace.DEFAULT_TRACE_STATE,
            )
        except Exception:  # noqa: BLE001 - it is logged, rarely
            _SAMPLER_RAISED.warn("the sampler raised; the span is not recorded", exc_info=True)
            return _Decision(False, False, None, trace.DEFAULT_TRACE_STATE)

    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: AnyAttributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Any:
        """Return a context manager that starts a span and makes it the current one.

        It may also decorate a function or a coroutine function: each call is a span then.

        Args:
            name: as for ``start_span``.
            context: as for ``start_span``.
            kind: as for ``start_span``.
            attributes: as for ``start_span``.
            links: as for ``start_span``.
            start_time: as for ``start_span``.
            record_exception: whether an exception that leaves the block becomes an event.
            set_status_on_exception: whether it sets the status.
            end_on_exit: whether leaving the block ends the span.

        Returns:
            A ``CurrentSpan``. (The API names a private class here, so its type is left open.)
        """
        return CurrentSpan(
            lambda: self.start_span(
                name,
                context,
                kind,
                attributes,
                links,
                start_time,
                record_exception,
                set_status_on_exception,
            ),
            (record_exception, set_status_on_exception),
            end_on_exit,
        )


class CurrentSpan:
    """A span that is the current one inside a ``with`` block, or inside a decorated function.

    Args:
        start: starts the span.
        on_exception: whether an exception that leaves the block becomes an event, and sets the status.
        end_on_exit: whether leaving the block ends the span.

    Only what derives from ``Exception`` is recorded: leaving a block by cancellation is no error, as
    the API's ``use_span`` has it.
    """

    __slots__ = ("_end_on_exit", "_on_exception", "_span", "_start", "_token")

    def __init__(
        self, start: Callable[[], trace.Span], on_exception: tuple[bool, bool], end_on_exit: bool
    ) -> None:
        self._start = start
        self._on_exception = on_exception
        self._end_on_exit = end_on_exit
        self._span: trace.Span = trace.INVALID_SPAN
        self._token: Token[Context] | None = None

    def __enter__(self) -> trace.Span:
        self._span = span = self._start()
        self._token = contexts.attach(trace.set_span_in_context(span))
        return span

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if self._token is not None:
            contexts.detach(self._token)
            self._token = None
        span = self._span
        if isinstance(exc_val, Exception) and isinstance(span, LeanSpan):
            records, sets_status = self._on_exception
            span.fail(exc_val, records=records, sets_status=sets_status, escaped=False)
        if self._end_on_exit:
            span.end()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of which each call is a span."""
        start, on_exception, end_on_exit = self._start, self._on_exception, self._end_on_exit
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with CurrentSpan(start, on_exception, end_on_exit):
                    return await function(*args, **kwargs)

            return awaited

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with CurrentSpan(start, on_exception, end_on_exit):
                return function(*args, **kwargs)

        return called
