"""What a program does with the API arrives the same from the SDK and from this library."""

import asyncio
import enum
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    AlwaysRecordSampler,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
)
from tests.requirements import requirement
from tests.tracing.providers import lean_provider, sdk_provider
from tests.tracing.receivers import http_receiver

T0 = 1_700_000_000_000_000_000
Scenario = Callable[[Tracer], None]


def remote(flags: int = 1, state: str = "") -> Context:
    """A caller's context."""
    context = SpanContext(
        0xABC << 64 | 0xDEF, 0x123, True, TraceFlags(flags), TraceState.from_header([state])
    )
    return trace.set_span_in_context(NonRecordingSpan(context), Context())


class Colour(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    SEVEN = 7


class Shown:
    def __str__(self) -> str:
        return "shown"


class Hidden:
    pass


def everything(tracer: Tracer) -> None:
    span = tracer.start_span(
        "all",
        remote(3, "a=1,b=2"),
        SpanKind.SERVER,
        {"text": "ü", "yes": True, "no": False, "n": -5, "big": 2**63 - 1, "x": 1.5},
        [Link(SpanContext(1, 2, True), {"why": "this"}), Link(SpanContext(3, 4, False))],
        T0,
    )
    span.set_attribute("bytes", b"\x00\xff")
    span.set_attributes({"list": ["a", "b"], "tuple": (1, 2), "none": None})
    span.set_attribute("mapping", {"a": {"b": [1, None, "c"]}})
    span.set_attribute("empty", "")
    span.add_event("first", {"k": 1}, T0 + 1)
    span.add_event("bare", timestamp=T0 + 2)
    span.add_link(SpanContext(5, 6, True), {"k": "v"})
    span.update_name("renamed")
    span.set_status(StatusCode.ERROR, "broke")
    span.end(T0 + 9)


def tree(tracer: Tracer) -> None:
    with tracer.start_as_current_span("root", start_time=T0, end_on_exit=False) as root:
        tracer.start_span("a", start_time=T0).end(T0 + 1)
        with trace.use_span(tracer.start_span("b", start_time=T0), end_on_exit=False) as b:
            tracer.start_span("c", kind=SpanKind.CLIENT, start_time=T0).end(T0 + 1)
        b.end(T0 + 2)
        tracer.start_span("other root", Context(), start_time=T0).end(T0 + 1)
    root.end(T0 + 3)


def statuses(tracer: Tracer) -> None:
    def ended(*calls: tuple[Any, ...]) -> None:
        span = tracer.start_span("s", start_time=T0)
        for call in calls:
            span.set_status(*call)
        span.end(T0)

    ended()
    ended((StatusCode.UNSET,))
    ended((StatusCode.OK,), (StatusCode.ERROR, "too late"))
    ended((StatusCode.ERROR, "one"), (Status(StatusCode.ERROR, "two"),))
    ended((StatusCode.ERROR, "one"), (StatusCode.UNSET,))
    ended((Status(StatusCode.ERROR, "one"),), (StatusCode.OK,))
    ended((Status(StatusCode.ERROR),))


def after_the_end(tracer: Tracer) -> None:
    span = tracer.start_span("ended", attributes={"k": 1}, start_time=T0)
    span.end(T0 + 1)
    assert not span.is_recording()
    span.set_attribute("k", 2)
    span.set_attributes({"k": 3})
    span.add_event("late")
    span.add_link(SpanContext(1, 2, False))
    span.update_name("late")
    span.set_status(StatusCode.ERROR)
    span.record_exception(ValueError("late"))
    span.end(T0 + 2)


def exceptions(tracer: Tracer) -> None:
    def left_by(error: BaseException, records: bool = True, sets_status: bool = True) -> None:
        flags: Any = {"record_exception": records, "set_status_on_exception": sets_status}
        block = tracer.start_as_current_span("block", start_time=T0, **flags)
        with pytest.raises(type(error)), block:
            raise error
        span = tracer.start_span("span", start_time=T0, **flags)
        with pytest.raises(type(error)), span:
            raise error

    left_by(ValueError("x"))
    left_by(ValueError("x"), records=False)
    left_by(ValueError("x"), sets_status=False)
    left_by(ValueError("x"), records=False, sets_status=False)
    left_by(KeyboardInterrupt())
    span = tracer.start_span("by hand", start_time=T0)
    span.record_exception(LookupError("x"), {"exception.message": "another"}, T0 + 1, escaped=True)
    span.end(T0 + 2)


def strange_values(tracer: Tracer) -> None:
    given_at_start = {"a": 1}
    unchanged = tracer.start_span("unchanged", attributes=given_at_start, start_time=T0)
    given_at_start["a"] = 2
    unchanged.end(T0)
    mutable = [1, 2]
    nested = {"a": [1]}
    with tracer.start_as_current_span("odd", attributes={"list": mutable}, start_time=T0) as span:
        span.set_attribute("nested", nested)
        span.set_attribute("colour", Colour.RED)
        span.set_attribute("seven", Number.SEVEN)
        span.set_attribute("shown", Shown())  # type: ignore[arg-type]
        span.set_attribute("range", range(3))
        span.set_attribute("bytearray", bytearray(b"ab"))
        span.set_attribute("", "no key")
        span.set_attribute("too big", 2**80)
        span.set_attribute("surrogate", "\ud800")
        mutable.append(3)
        nested["a"].append(2)


def links_that_say_nothing(tracer: Tracer) -> None:
    nowhere = trace.INVALID_SPAN_CONTEXT
    span = tracer.start_span("l", links=[Link(nowhere), Link(nowhere, {"k": 1})], start_time=T0)
    span.add_link(nowhere)
    span.add_link(nowhere, {"k": 1})
    span.add_link(SpanContext(0, 0, False, trace_state=TraceState([("a", "1")])))
    span.end(T0)


def decorated(tracer: Tracer) -> None:
    @tracer.start_as_current_span("function")
    def function(x: int) -> int:
        trace.get_current_span().set_attribute("x", x)
        return x

    @tracer.start_as_current_span("coroutine")
    async def coroutine(x: int) -> int:
        trace.get_current_span().set_attribute("x", x)
        await asyncio.sleep(0)
        return x

    assert [function(1), function(2), asyncio.run(coroutine(3))] == [1, 2, 3]
    assert function.__name__ == "function"


def full(tracer: Tracer) -> None:
    many: dict[str, Any] = {f"k{n}": n for n in range(8)}
    links = [Link(SpanContext(n, n, False), many) for n in range(1, 8)]
    span = tracer.start_span("full", attributes=many, links=links, start_time=T0)
    for n in range(8):
        span.add_event(f"e{n}", many, T0)
        span.add_link(SpanContext(n + 100, 1, True))
    span.set_attribute("k6", "again, and the newest")
    span.set_attributes({"a": "x" * 100, "b": ["y" * 100, {"z": "z" * 100}]})
    span.end(T0)


def given(nanos: int) -> int:
    """Return a time that the scenario gave, and 0 for one that a clock gave."""
    return nanos if nanos < T0 + 1000 else 0


def normal(requests: list[ExportTraceServiceRequest]) -> list[ExportTraceServiceRequest]:
    """Leave out what differs rightly: who recorded, lines of code, and times that nobody gave."""
    for request in requests:
        for resource in request.resource_spans:
            kept = [a for a in resource.resource.attributes if "telemetry.sdk" not in a.key]
            del resource.resource.attributes[:]
            resource.resource.attributes.extend(kept)
            for span in [span for scope in resource.scope_spans for span in scope.spans]:
                span.start_time_unix_nano = given(span.start_time_unix_nano)
                span.end_time_unix_nano = given(span.end_time_unix_nano)
                for event in span.events:
                    event.time_unix_nano = given(event.time_unix_nano)
                    for attribute in event.attributes:
                        if attribute.key == "exception.stacktrace":
                            lines = attribute.value.string_value.splitlines()
                            attribute.value.string_value = f"{lines[0]} ... {lines[-1]}"
    return requests


def exported(
    provider: Any, scenario: Scenario, sampler: Sampler | None = None, **limits: Any
) -> list[ExportTraceServiceRequest]:
    with http_receiver() as receiver:
        with provider(receiver.url, sampler=sampler, **limits) as running:
            scenario(
                running.get_tracer("scope", "1.0", "https://example.com/schema", {"of": "scope"})
            )
            running.get_tracer("another").start_span("end", remote(), start_time=T0).end(T0)
        return normal(receiver.received.requests)


@requirement("tracing.same-as-sdk")
@pytest.mark.parametrize(
    "scenario",
    [
        everything,
        tree,
        statuses,
        after_the_end,
        exceptions,
        links_that_say_nothing,
        decorated,
        full,
    ],
)
def test_a_program_is_exported_as_by_the_sdk(scenario: Scenario) -> None:
    assert exported(lean_provider, scenario) == exported(sdk_provider, scenario)


@requirement("tracing.same-as-sdk")
@pytest.mark.parametrize(("most", "length"), [(5, None), (5, 10), (0, None), (128, 3)])
def test_limits_keep_and_count_what_the_sdk_keeps_and_counts(most: int, length: int | None) -> None:
    for scenario in (full, everything):
        lean = exported(lean_provider, scenario, most=most, length=length)
        assert lean == exported(sdk_provider, scenario, most=most, length=length)


@requirement("tracing.same-as-sdk")
def test_strange_values_are_exported_as_by_the_sdk_but_counted_where_they_are_not() -> None:
    (lean,), (sdk,) = (
        exported(lean_provider, strange_values),
        exported(sdk_provider, strange_values),
    )
    span = lean.resource_spans[0].scope_spans[0].spans[1]
    assert span.dropped_attributes_count == 3
    span.dropped_attributes_count = 1  # the SDK counts the empty key only
    assert lean == sdk


SAMPLERS = [
    ALWAYS_ON,
    ALWAYS_OFF,
    DEFAULT_ON,
    DEFAULT_OFF,
    TraceIdRatioBased(0.5),
    ParentBased(TraceIdRatioBased(0.0)),
    AlwaysRecordSampler(ALWAYS_OFF),
]


@requirement("tracing.same-as-sdk")
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.get_description())
def test_each_sampler_decides_and_propagates_as_in_the_sdk(sampler: Sampler) -> None:
    seen: list[tuple[bool, SpanContext]] = []

    def sampled(tracer: Tracer) -> None:
        contexts = [Context(), *(remote(flags, "s=1") for flags in range(4))]
        local = SpanContext(0xFFFF_FFFF_FFFF_FFFF, 1, False, TraceFlags(1))
        contexts.append(trace.set_span_in_context(NonRecordingSpan(local), Context()))
        for context in contexts:
            span = tracer.start_span("s", context, attributes={"k": 1}, start_time=T0)
            seen.append((span.is_recording(), span.get_span_context()))
            span.end(T0)

    lean = exported(lean_provider, sampled, sampler)
    seen_of_lean, seen[:] = list(seen), []
    assert lean == exported(sdk_provider, sampled, sampler)
    assert seen_of_lean == seen
