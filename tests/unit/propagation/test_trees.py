"""Trees of spans: drawn the same whatever came first, and each way of being broken named."""

from dataclasses import replace

import pytest
from tests.requirements import requirement

from linkspan_propagation.testing import ExportedSpan, assert_one_trace, draw_tree, traces

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER_TRACE = "1af7651916cd43dd8448eb211c80319c"


def span(number: int, parent: int = 0, name: str = "", *, trace_id: str = TRACE) -> ExportedSpan:
    return ExportedSpan(
        trace_id=trace_id,
        span_id=f"{number:016x}",
        parent_span_id=f"{parent:016x}" if parent else "",
        name=name or f"span-{number}",
        kind="INTERNAL",
        start_unix_nanos=number * 1000,
        end_unix_nanos=number * 1000 + 500,
        attributes={},
        service_name="s",
    )


WHOLE = [span(1), span(2, 1), span(3, 2), span(4, 2), span(5, 1)]


@requirement("propagation.guard")
def test_a_whole_trace_is_drawn_as_its_tree() -> None:
    with_status = [
        *WHOLE[:4],
        replace(WHOLE[4], status_code="ERROR", attributes={"rpc.response.status_code": "INTERNAL"}),
    ]
    assert draw_tree([with_status[at] for at in (3, 0, 4, 2, 1)]) == "\n".join(
        [
            f"trace {TRACE} (5 spans)",
            "  span-1 INTERNAL [s] id=0000000000000001",
            "    ├─ span-2 INTERNAL [s] id=0000000000000002",
            "    │  ├─ span-3 INTERNAL [s] id=0000000000000003",
            "    │  └─ span-4 INTERNAL [s] id=0000000000000004",
            "    └─ span-5 INTERNAL [s] INTERNAL ERROR id=0000000000000005",
        ]
    )


@requirement("propagation.guard")
def test_a_whole_trace_is_returned_in_order_of_start() -> None:
    assert assert_one_trace(reversed(WHOLE)) == WHOLE


@requirement("propagation.guard")
def test_a_client_that_does_not_export_may_be_the_roots_parent() -> None:
    spans = [span(2, 99), span(3, 2)]
    assert assert_one_trace(spans, remote_parents=[f"{99:016x}"]) == spans


@requirement("propagation.guard")
def test_traces_are_sorted_out() -> None:
    spans = [span(3, trace_id=OTHER_TRACE), span(2, 1), span(1)]
    assert traces(spans) == {TRACE: [span(1), span(2, 1)], OTHER_TRACE: spans[:1]}


@requirement("propagation.guard")
@pytest.mark.parametrize(
    ("spans", "named"),
    [
        ([], "no spans"),
        ([span(1), span(2, 1, trace_id=OTHER_TRACE)], "2 traces instead of one"),
        (
            [span(1), span(2, 1, trace_id=OTHER_TRACE)],
            "'span-2' (s, id 0000000000000002) is in trace",
        ),
        ([span(1), span(2)], "2 roots instead of one: 'span-1' (s, id 0000000000000001), 'span-2'"),
        ([span(1), span(2, 99)], "'span-2' (s, id 0000000000000002) has parent 0000000000000063"),
        ([span(2, 99)], "0 roots instead of one: none"),
        ([span(1), span(1)], "span id 0000000000000001 came twice"),
        (
            [span(1), span(2, 3), span(3, 2)],
            "'span-2' (s, id 0000000000000002) is its own ancestor",
        ),
        ([span(1, 1)], "'span-1' (s, id 0000000000000001) is its own ancestor"),
    ],
)
def test_what_is_broken_is_named_and_drawn(spans: list[ExportedSpan], named: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_one_trace(spans)
    message = str(caught.value)
    assert named in message
    for each in spans:
        assert f"id={each.span_id}" in message


@requirement("propagation.guard")
def test_two_spans_below_the_same_remote_parent_are_two_roots() -> None:
    with pytest.raises(AssertionError, match="2 roots"):
        assert_one_trace([span(2, 99), span(3, 99)], remote_parents=[f"{99:016x}"])


@requirement("propagation.guard")
def test_a_span_whose_parent_is_missing_is_drawn_at_the_left_and_marked() -> None:
    assert "  span-2 INTERNAL [s] id=0000000000000002 <- parent 0000000000000063 is not here" in (
        draw_tree([span(1), span(2, 99)])
    )


@requirement("propagation.guard")
def test_spans_that_go_round_in_a_circle_are_each_drawn_once() -> None:
    drawing = draw_tree([span(2, 3), span(3, 2)])
    assert drawing.count("id=0000000000000002") == 1
    assert drawing.count("id=0000000000000003") == 1


@requirement("propagation.guard")
def test_no_spans_are_drawn_as_such() -> None:
    assert draw_tree([]) == "(no spans)"
