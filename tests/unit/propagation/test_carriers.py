"""Injecting into metadata and extracting from them: what goes out, and what comes back."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest
from grpc.aio import Metadata as AioMetadata
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState
from tests.requirements import requirement

from linkspan_propagation import extract, extract_from_fields, inject, inject_into_fields
from linkspan_propagation.carriers import METADATA_BUDGET_BYTES
from linkspan_propagation.propagators import Propagators, propagators_in_use, use_propagators

TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
SPAN_ID = 0xB7AD6B7169203331
TRACEPARENT = f"00-{TRACE_ID:032x}-{SPAN_ID:016x}-01"
OTHER_TRACEPARENT = f"00-{TRACE_ID + 1:032x}-{SPAN_ID + 1:016x}-00"


def context_of(
    tracestate: list[tuple[str, str]] | None = None, own_baggage: dict[str, str] | None = None
) -> Context:
    span_context = SpanContext(
        TRACE_ID, SPAN_ID, False, TraceFlags(TraceFlags.SAMPLED), TraceState(tracestate or [])
    )
    context = trace.set_span_in_context(NonRecordingSpan(span_context), Context())
    for key, value in (own_baggage or {}).items():
        context = baggage.set_baggage(key, value, context)
    return context


def remote(context: Context) -> SpanContext:
    return trace.get_current_span(context).get_span_context()


def size_bytes(metadata: tuple[tuple[str, str | bytes], ...]) -> int:
    return sum(len(key) + len(value) + 32 for key, value in metadata)


@contextmanager
def carrying(chosen: Propagators) -> Generator[None]:
    before = propagators_in_use()
    use_propagators(chosen)
    try:
        yield
    finally:
        use_propagators(before)


def test_a_context_comes_back_as_it_was_sent() -> None:
    sent = context_of([("vendor", "x"), ("older", "y")], {"tenant": "a b,c=d;e"})
    received = extract(inject(None, sent))
    assert remote(received).trace_id == TRACE_ID
    assert remote(received).span_id == SPAN_ID
    assert remote(received).is_remote
    assert remote(received).trace_flags == 1
    assert list(remote(received).trace_state.items()) == [("vendor", "x"), ("older", "y")]
    assert dict(baggage.get_all(received)) == {"tenant": "a b,c=d;e"}


def test_fields_come_back_as_they_were_sent() -> None:
    fields = inject_into_fields(context_of([("vendor", "x")], {"k": "v"}))
    assert fields == {"traceparent": TRACEPARENT, "tracestate": "vendor=x", "baggage": "k=v"}
    received = extract_from_fields(
        [fields["traceparent"]], [fields["tracestate"]], [fields["baggage"]]
    )
    assert remote(received).span_id == SPAN_ID


def test_the_current_context_is_what_goes_out_by_default() -> None:
    token = attach(context_of())
    try:
        assert inject(None) == (("traceparent", TRACEPARENT),)
        assert inject_into_fields() == {"traceparent": TRACEPARENT}
    finally:
        detach(token)


def test_nothing_to_carry_leaves_metadata_as_they_are() -> None:
    given_metadata = (("traceparent", "a"), ("traceparent", "b"), ("k", "1"))
    assert inject(given_metadata, Context()) == given_metadata
    assert inject(None, Context()) == ()
    assert inject_into_fields(Context()) == {}


@requirement("propagation.one-traceparent")
def test_exactly_one_traceparent_goes_out_whatever_stood_there() -> None:
    metadata = inject(
        (("traceparent", "old"), ("k", "1"), ("tracestate", "old=1"), ("traceparent", "older")),
        context_of(),
    )
    assert metadata == (("k", "1"), ("traceparent", TRACEPARENT))


def test_the_callers_duplicates_and_order_are_kept() -> None:
    own = (("k", "1"), ("b-bin", b"\x00"), ("k", "2"), ("a", "3"), ("k", "1"))
    assert inject(own, context_of())[:-1] == own


def test_grpc_metadata_objects_are_taken_and_not_changed() -> None:
    own = AioMetadata(("k", "1"), ("k", "2"), ("traceparent", "old"))
    assert inject(own, context_of()) == (("k", "1"), ("k", "2"), ("traceparent", TRACEPARENT))
    assert list(own) == [("k", "1"), ("k", "2"), ("traceparent", "old")]


def test_the_callers_baggage_is_joined_with_the_contexts_which_wins() -> None:
    metadata = inject((("baggage", "a=1, b=2"), ("baggage", "c=3")), context_of(None, {"b": "9"}))
    assert dict(metadata)["baggage"] == "b=9,a=1,c=3"
    assert [key for key, _ in metadata].count("baggage") == 1


def test_the_callers_baggage_stays_where_the_context_has_none() -> None:
    assert ("baggage", "a=1") in inject((("baggage", "a=1"),), context_of())


@requirement("propagation.baggage")
def test_baggage_travels_without_a_trace() -> None:
    assert inject(None, baggage.set_baggage("a", "1", Context())) == (("baggage", "a=1"),)


@requirement("propagation.room")
@given(
    st.integers(0, 3000),
    st.lists(st.integers(1, 250), max_size=32),
    st.lists(st.integers(1, 400), max_size=40),
)
def test_metadata_stay_within_the_budget_and_keep_traceparent(
    own_bytes: int, state_sizes: list[int], baggage_sizes: list[int]
) -> None:
    state = [(f"k{index}", "s" * size) for index, size in enumerate(state_sizes)]
    pairs = {f"b{index}": "v" * size for index, size in enumerate(baggage_sizes)}
    metadata = inject((("own", "x" * own_bytes),), context_of(state, pairs))
    assert size_bytes(metadata) <= METADATA_BUDGET_BYTES <= 4096
    fields = dict(metadata)
    assert fields["traceparent"] == TRACEPARENT
    sent_state = str(fields.get("tracestate", ""))
    whole_state = ",".join(f"{key}={value}" for key, value in state)
    assert whole_state.startswith(sent_state)
    sent_baggage = str(fields.get("baggage", ""))
    whole_baggage = ",".join(f"{key}={value}" for key, value in pairs.items())
    assert whole_baggage.startswith(sent_baggage)
    if sent_baggage != whole_baggage:
        assert sent_state == "" or len(sent_state) < METADATA_BUDGET_BYTES - len(sent_baggage)


@requirement("propagation.room")
def test_tracestate_goes_before_baggage_does() -> None:
    metadata = dict(inject(None, context_of([("k", "s" * 250)], {"b": "v" * 3800})))
    assert "tracestate" not in metadata
    assert len(str(metadata["baggage"])) == 3802


@requirement("propagation.room")
def test_traceparent_goes_out_where_the_caller_left_no_room() -> None:
    own = (("own", "x" * METADATA_BUDGET_BYTES),)
    assert inject(own, context_of([("a", "1")], {"b": "2"})) == (*own, ("traceparent", TRACEPARENT))


def test_of_several_traceparents_in_metadata_the_last_counts() -> None:
    received = extract((("traceparent", OTHER_TRACEPARENT), ("traceparent", TRACEPARENT)))
    assert remote(received).trace_id == TRACE_ID


def test_a_malformed_last_traceparent_is_not_made_up_for_by_an_earlier_one() -> None:
    received = extract((("traceparent", TRACEPARENT), ("traceparent", "broken")))
    assert not remote(received).is_valid


@requirement("propagation.one-traceparent")
def test_several_traceparent_headers_are_no_parent() -> None:
    received = extract_from_fields([TRACEPARENT, TRACEPARENT], ["a=1"], ["b=2"])
    assert not remote(received).is_valid
    assert dict(baggage.get_all(received)) == {"b": "2"}


def test_several_tracestate_and_baggage_entries_are_one_list() -> None:
    received = extract(
        (
            ("traceparent", TRACEPARENT),
            ("tracestate", "a=1"),
            ("baggage", "c=3"),
            ("tracestate", "b=2"),
            ("baggage", "d=4"),
        )
    )
    assert remote(received).trace_state.to_header() == "a=1,b=2"
    assert dict(baggage.get_all(received)) == {"c": "3", "d": "4"}


@requirement("propagation.tracestate")
@pytest.mark.parametrize(
    "tracestate", ["broken", "a=1,a=2", ",".join(f"k{n}=v" for n in range(33))]
)
def test_a_broken_tracestate_costs_itself_and_not_the_trace(tracestate: str) -> None:
    received = extract((("traceparent", TRACEPARENT), ("tracestate", tracestate)))
    assert remote(received).trace_id == TRACE_ID
    assert not remote(received).trace_state


def test_a_tracestate_key_of_level_2_that_opentelemetry_cannot_hold_is_left_out_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    received = extract((("traceparent", TRACEPARENT), ("tracestate", "1a=x,a@b@c=y,ok=z")))
    assert remote(received).trace_state.to_header() == "ok=z"
    assert not caplog.records


@requirement("propagation.tracestate")
def test_tracestate_without_traceparent_is_nothing() -> None:
    assert extract((("tracestate", "a=1"),)) == Context()


@pytest.mark.parametrize(
    "metadata", [None, (), (("traceparent", b"bytes"),), (("Traceparent", TRACEPARENT),)]
)
def test_no_traceparent_is_an_empty_context(
    metadata: tuple[tuple[str, str | bytes], ...] | None,
) -> None:
    assert extract(metadata) == Context()


def test_extracting_forgets_the_local_context() -> None:
    token = attach(context_of(None, {"local": "1"}))
    try:
        assert extract(()) == Context()
        assert remote(extract((("traceparent", OTHER_TRACEPARENT),))).trace_id == TRACE_ID + 1
        assert not baggage.get_all(extract((("traceparent", OTHER_TRACEPARENT),)))
    finally:
        detach(token)


@given(
    st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "baggage", "k"]), st.text()))
)
def test_whatever_a_peer_sends_is_no_error(metadata: list[tuple[str, str | bytes]]) -> None:
    inject(metadata, extract(metadata))


def test_only_what_was_chosen_crosses() -> None:
    context = context_of([("a", "1")], {"b": "2"})
    sent = inject(None, context)
    with carrying(Propagators(trace_context=False)):
        assert inject(None, context) == (("baggage", "b=2"),)
        assert not remote(extract(sent)).is_valid
    with carrying(Propagators(baggage=False)):
        assert "baggage" not in dict(inject(None, context))
        assert not baggage.get_all(extract(sent))
    with carrying(Propagators(trace_context=False, baggage=False)):
        assert inject_into_fields(context) == {}
        assert extract(sent) == Context()
