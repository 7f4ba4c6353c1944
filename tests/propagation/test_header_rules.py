"""What is read and written of headers and metadata, as properties: by W3C's rules, and by gRPC's."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext, TraceFlags
from tests.propagation.in_process import ECHO, serving_sync
from tests.requirements import requirement

from linkspan_propagation import format_traceresponse, parse_traceparent
from linkspan_propagation.capture import captured
from linkspan_propagation.legal_metadata import is_legal
from linkspan_propagation.traceparent import read_traceparent
from linkspan_propagation.traceresponse import add_to_trailing_metadata, traceresponse_of

VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@st.composite
def nearly_valid(draw: st.DrawFn) -> str:
    """Return a valid value with some characters replaced by such as a careless reader takes."""
    characters = list(VALID)
    others = st.sampled_from("0123456789abcdefABCDEFg-_+ .x\u0661\uff11")
    for at in draw(st.lists(st.integers(0, 54), max_size=4)):
        characters[at] = draw(others)
    return "".join(characters)


@requirement("propagation.traceparent")
@given(nearly_valid())
@example(VALID)
@example("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0_")
@example("00--af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
@example("00-" + "0" * 32 + "-b7ad6b7169203331-01")
@example("00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01")
@example("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
@example("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
def test_the_short_way_to_read_a_traceparent_says_what_the_grammar_says(text: str) -> None:
    # With a blank before it, which is none of the value, it is read by the grammar.
    assert read_traceparent(text) == read_traceparent(f" {text}")


@requirement("trace.response")
@given(st.integers(1, (1 << 128) - 1), st.integers(1, (1 << 64) - 1), st.integers(0, 3))
def test_a_traceresponse_names_its_span_in_the_form_of_a_traceparent(
    trace_id: int, span_id: int, flags: int
) -> None:
    text = format_traceresponse(trace_id, span_id, flags)
    parsed = parse_traceparent(text)
    assert parsed is not None
    assert (parsed.trace_id, parsed.span_id, parsed.flags) == (trace_id, span_id, flags)
    of_span = SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(flags))
    assert traceresponse_of(of_span) == ("traceresponse", text)


def test_no_span_has_no_traceresponse() -> None:
    assert traceresponse_of(SpanContext(0, 0, is_remote=False)) is None


class Trailers:
    """What a servicer's context has of trailing metadata."""

    def __init__(self, entries: tuple[Any, ...] | None) -> None:
        self.entries = entries

    def trailing_metadata(self) -> tuple[Any, ...] | None:
        """Return them."""
        return self.entries

    def set_trailing_metadata(self, entries: tuple[Any, ...]) -> None:
        """Replace them."""
        self.entries = entries


@given(st.none() | st.lists(st.tuples(st.sampled_from(["a", "b-bin", "c"]), st.text())))
def test_trailing_metadata_keep_their_order_and_get_one_entry(entries: Any) -> None:
    context = Trailers(None if entries is None else tuple(entries))
    for _ in range(3):
        add_to_trailing_metadata(context, ("traceresponse", "00-x"))
    assert context.entries == (*(entries or ()), ("traceresponse", "00-x"))


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.text() | st.binary())))
def test_all_text_of_a_captured_key_is_kept_in_order_and_nothing_else(entries: Any) -> None:
    found = captured("prefix", {"a", "b"}, entries)
    for key in ("a", "b"):
        values = tuple(value for name, value in entries if name == key and isinstance(value, str))
        assert found.pop(f"prefix.{key}", ()) == values
    assert not found


@pytest.fixture(scope="module")
def calls() -> Iterator[Any]:
    with serving_sync() as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        make: Any = channel.unary_unary
        yield make(ECHO)


keys = st.text(alphabet="ab0-_.: A\u00e9\n", min_size=1, max_size=4) | st.just("k-bin")
values = st.text(alphabet="a ~\t\n\x7f\u00e9", max_size=4) | st.binary(max_size=3)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(keys, values), max_size=2))
@example([(5, "v")])
@example([("k", 5)])
@example([("a", "b", "c")])
@example([("k", "\ud800")])
def test_metadata_are_legal_if_grpc_sends_them(calls: Any, metadata: list[Any]) -> None:
    try:
        calls(b"q", metadata=metadata, timeout=30)
        sent = True
    except (grpc.RpcError, TypeError, ValueError):
        sent = False
    assert is_legal(metadata) == sent
