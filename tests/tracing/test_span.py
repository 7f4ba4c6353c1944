"""What a program may do to a span without harm."""

import logging
import random
import sys
import threading
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanContext, TraceFlags
from tests.requirements import requirement

from linkspan_tracing import LeanTracerProvider, Rule, SpanLimits, TracingConfigurationError
from linkspan_tracing.rarely import RareWarning
from linkspan_tracing.sampling import sampler_from_env, share
from linkspan_tracing.span import LeanSpan

ROOT = Context()


def tracer_of(**options: Any) -> trace.Tracer:
    return LeanTracerProvider(Resource({}), **options).get_tracer("t")


def lean(span: trace.Span) -> LeanSpan:
    assert isinstance(span, LeanSpan)
    return span


class Hidden:
    pass


class Explosive:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Unkeyed(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


def test_attributes_that_cannot_be_sent_are_dropped_with_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linkspan_tracing.span._DROPPED", RareWarning(logging.getLogger("rare")))
    itself: list[Any] = []
    itself.append(itself)
    span = lean(tracer_of().start_span("s", attributes={"a": 1, "h": Hidden()}))  # type: ignore[dict-item]
    for value in (Hidden(), Explosive(), itself, [Explosive()], {"k": Hidden()}):
        span.set_attribute("k", value)  # type: ignore[arg-type]
    span.set_attributes({"k": Explosive()})  # type: ignore[dict-item]
    span.set_attribute(["unhashable"], 1)  # type: ignore[arg-type]
    span.add_event("e", {"k": Explosive()})  # type: ignore[dict-item]
    assert span.attributes == {"a": 1}
    assert span.attributes_dropped == 8
    assert span.events_kept is not None
    assert span.events_kept[0].dropped == 1
    assert len([r for r in caplog.records if "dropped" in r.message]) == 1


def test_what_is_no_mapping_costs_the_attributes_and_not_the_span() -> None:
    tracer = tracer_of()
    too_many = Unkeyed({f"k{n}": n for n in range(1000)})  # so that each is looked at
    for odd in (["a"], too_many, 5):
        span = lean(tracer.start_span("s", attributes=odd))  # type: ignore[arg-type]
        assert span.attributes_dropped == 1


@requirement("tracing.bounded")
def test_ten_thousand_attributes_keep_the_newest() -> None:
    many: dict[str, Any] = {f"k{n}": n for n in range(10_000)}
    tracer = tracer_of()
    at_start = lean(tracer.start_span("s", attributes=many))
    later = lean(tracer.start_span("s"))
    later.set_attributes(many)
    one_by_one = lean(tracer.start_span("s"))
    for key, value in many.items():
        one_by_one.set_attribute(key, value)
    for span in (at_start, later, one_by_one):
        assert list(span.attributes) == [f"k{n}" for n in range(9872, 10_000)]
        assert span.attributes_dropped == 9872


def test_threads_that_share_a_span_break_nothing() -> None:
    span = lean(tracer_of(limits=SpanLimits(attributes=8)).start_span("s"))
    failures: list[BaseException] = []

    def hammer(name: int) -> None:
        try:
            for number in range(3000):
                span.set_attribute(f"{name}-{number}", number)
        except Exception as error:  # noqa: BLE001 - whatever it is
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=hammer, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
    assert len(span.attributes) <= 8 + 4


def test_two_threads_that_end_a_span_export_it_once() -> None:
    exported: list[LeanSpan] = []
    tracer = tracer_of()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            span = lean(tracer.start_span("s"))
            span.origin.export = exported.append
            threads = [threading.Thread(target=span.end) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(exported) == 300


def test_an_exception_without_a_text_leaves_the_block_as_it_is() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    tracer = tracer_of()
    span = tracer.start_span("s")
    with pytest.raises(MuteError), span:
        raise MuteError
    assert lean(span).status.description == "MuteError: <MuteError without a text>"
    block = tracer.start_as_current_span("s")
    with pytest.raises(MuteError), block:
        raise MuteError


def test_a_line_about_ended_spans_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linkspan_tracing.span._ENDED", RareWarning(logging.getLogger("rare")))
    span = tracer_of().start_span("s")
    span.end()
    for _ in range(1000):
        span.end()
        span.set_attribute("k", 1)
    assert [r.message for r in caplog.records] == ["a span was ended twice"]


def test_ids_do_not_follow_a_seed_of_the_program() -> None:
    seen: set[int] = set()
    for _ in range(3):
        random.seed(7)
        context = tracer_of().start_span("s", ROOT).get_span_context()
        seen |= {context.trace_id, context.span_id}
    assert len(seen) == 6


@requirement("propagation.flags")
def test_a_root_says_that_its_id_is_random_and_a_child_what_its_parent_said() -> None:
    tracer = tracer_of()
    assert tracer.start_span("s", ROOT).get_span_context().trace_flags == 3
    for flags in (1, 3):
        parent = SpanContext(1, 2, True, TraceFlags(flags))
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent), ROOT)
        assert tracer.start_span("s", context).get_span_context().trace_flags == flags


def test_a_context_made_fast_is_a_context() -> None:
    made = tracer_of().start_span("s", ROOT).get_span_context()
    same = SpanContext(
        made.trace_id, made.span_id, made.is_remote, made.trace_flags, made.trace_state
    )
    assert made == same
    assert type(made) is SpanContext
    assert made.is_valid


@requirement("tracing.harmless")
def test_a_sampler_that_raises_costs_the_span() -> None:
    class Raising(Sampler):
        def should_sample(self, *args: Any, **kwargs: Any) -> Any:
            del args, kwargs
            raise RuntimeError("broken")

        def get_description(self) -> str:
            return "broken"

    with tracer_of(sampler=Raising()).start_as_current_span("s") as span:
        assert not span.is_recording()
        assert span.get_span_context().is_valid


@requirement("trace.sampling")
@pytest.mark.parametrize(
    ("name", "argument", "rule"),
    [
        ("", "", Rule()),
        ("always_on", "", Rule(parent_based=False)),
        ("ALWAYS_OFF", "", Rule(0, parent_based=False)),
        ("traceidratio", "0.25", Rule(share(0.25), parent_based=False)),
        ("traceidratio", "", Rule(parent_based=False)),
        ("parentbased_always_on", "", Rule()),
        ("parentbased_always_off", "", Rule(0)),
        ("parentbased_traceidratio", "1", Rule()),
    ],
)
def test_each_sampler_of_the_specification_is_a_rule(name: str, argument: str, rule: Rule) -> None:
    environ = {"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument}
    assert sampler_from_env(environ) == rule


@pytest.mark.parametrize(
    ("name", "argument"), [("nothing", ""), ("traceidratio", "2"), ("traceidratio", "x")]
)
def test_a_sampler_that_cannot_be_had_is_an_error(name: str, argument: str) -> None:
    with pytest.raises(TracingConfigurationError, match="OTEL_TRACES_SAMPLER"):
        sampler_from_env({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument})


@requirement("trace.sampling")
def test_a_ratio_records_its_share_of_traces() -> None:
    tracer = tracer_of(sampler=Rule(share(0.25)))
    recorded = sum(tracer.start_span("s", ROOT).is_recording() for _ in range(4000))
    assert 800 < recorded < 1200


def test_a_disabled_provider_records_nothing() -> None:
    assert not tracer_of(disabled=True).start_span("s", ROOT).is_recording()
