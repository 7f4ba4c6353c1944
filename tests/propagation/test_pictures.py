"""Pictures of traces are the same in each run, and say what differs."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan_propagation.testing import (
    ExportedEvent,
    ExportedLink,
    ExportedSpan,
    assert_picture,
    draw_picture,
    draw_tree,
)

TRACE = "0" * 31 + "1"
OTHER = "0" * 31 + "2"


def span(
    number: int, parent: int = 0, name: str = "", *, trace_id: str = TRACE, start: int = 0
) -> ExportedSpan:
    return ExportedSpan(
        trace_id=trace_id,
        span_id=f"{number:016x}",
        parent_span_id=f"{parent:016x}" if parent else "",
        name=name or f"span-{number}",
        kind="INTERNAL",
        start_unix_nanos=start or number,
        end_unix_nanos=1000,
        attributes={"n": number, "method": name, "list": ("a", "b")},
        service_name="s",
    )


def link(to: ExportedSpan) -> ExportedLink:
    return ExportedLink(to.trace_id, to.span_id, {})


REQUEST = replace(span(1, name="request"), status_code="ERROR")
SPANS = [
    REQUEST,
    span(2, 1, "b"),
    replace(span(3, 1, "a"), links=(link(REQUEST), ExportedLink(OTHER, "f" * 16, {}))),
    span(4, 3, "c"),
    replace(span(5, 99, "a resumed one", trace_id=OTHER), links=(link(REQUEST),)),
]
PICTURE = """
trace 1
  a resumed one INTERNAL [s] <- parent is not here
     ~> linked to request [s] of trace 2
trace 2
  request INTERNAL [s] ERROR
  ├─ a INTERNAL [s]
  │  │  ~> linked to a span that is not here
  │  │  ~> linked to request [s] of trace 2
  │  └─ c INTERNAL [s]
  └─ b INTERNAL [s]
"""


def test_a_picture_has_names_kinds_edges_status_and_links() -> None:
    assert_picture(SPANS, PICTURE)


def test_a_picture_has_the_attributes_that_were_asked_for_in_their_order() -> None:
    picture = draw_picture([span(1, name="x")], attributes=["list", "missing", "n"])
    assert picture == "trace 1\n  x INTERNAL [s] list=('a', 'b') n=1"


def test_a_picture_has_details_and_events_below_a_span_and_equal_events_once() -> None:
    events = tuple(
        ExportedEvent(name, at, {"reason": reason, "attempt": at})
        for at, (name, reason) in enumerate(
            [("again", "gone"), ("other", "x"), ("again", "gone"), ("again", "busy")]
        )
    )
    spans = [replace(REQUEST, events=events, links=(link(REQUEST),)), span(2, 1, "b")]
    picture = draw_picture(spans, details=["method", "n"], events={"again": ["reason"]})
    assert picture.splitlines() == [
        "trace 1",
        "  request INTERNAL [s] ERROR",
        "  │  method=request",
        "  │  n=1",
        "  │  * again reason=gone",
        "  │  * again reason=busy",
        "  │  ~> linked to request [s] of trace 1",
        "  └─ b INTERNAL [s]",
        "        method=b",
        "        n=2",
    ]


@pytest.mark.parametrize("values", [("f3", "0a"), ("0a", "f3")])
def test_what_differs_from_run_to_run_is_numbered_in_the_order_of_the_picture(
    values: tuple[str, str],
) -> None:
    of_one, of_other = ({"session": value} for value in values)
    spans = [
        replace(span(1, name="z"), attributes=of_one),
        replace(span(2, 1, "b"), attributes=of_other),
        replace(span(3, 1, "c"), attributes=of_one),
        replace(span(4, name="a", trace_id=OTHER), attributes=of_other),
    ]
    assert draw_picture(spans, attributes=["session"], varying={"session": "s"}).splitlines() == [
        "trace 1",
        "  a INTERNAL [s] session=s 1",
        "trace 2",
        "  z INTERNAL [s] session=s 2",
        "  ├─ b INTERNAL [s] session=s 1",
        "  └─ c INTERNAL [s] session=s 2",
    ]


@st.composite
def forests(draw: st.DrawFn) -> list[tuple[int, int, str]]:
    """Return parent, place in time and name of each span; a parent comes before its children."""
    size = draw(st.integers(1, 9))
    return [
        (draw(st.integers(0, number)), draw(st.integers(1, 3)), draw(st.sampled_from("abc")))
        for number in range(size)
    ]


@given(forests(), st.randoms(use_true_random=False))
def test_a_picture_does_not_depend_on_ids_times_or_arrival(
    forest: list[tuple[int, int, str]], random: Random
) -> None:
    """The same tree twice, with other ids and times and in another order, is one picture."""
    ids = list(range(1, len(forest) + 1))
    shuffled = ids[:]
    random.shuffle(shuffled)
    pictures: list[str] = []
    for numbers in (ids, shuffled):
        spans = [
            span(
                numbers[at],
                numbers[parent - 1] if 0 < parent <= at else 0,
                name,
                start=random.randint(1, 9),
            )
            for at, (parent, _, name) in enumerate(forest)
        ]
        random.shuffle(spans)
        picture = draw_picture(spans)
        assert len(picture.splitlines()) == len(spans) + 1
        pictures.append(picture)
    assert pictures[0] == pictures[1]


def test_a_deep_tree_is_drawn_at_once() -> None:
    """Twenty spans below each other, each beside another: no step doubles the work."""
    spans = [span(1), *(span(at, max(1, at - 2)) for at in range(2, 60))]
    assert len(draw_picture(spans).splitlines()) == 60


def test_spans_that_go_round_in_a_circle_are_drawn() -> None:
    picture = draw_picture([span(1, 2, "a"), span(2, 1, "b")])
    assert picture.splitlines() == [
        "trace 1",
        "  a INTERNAL [s]",
        "  └─ b INTERNAL [s]",
        "     └─ a INTERNAL [s] is its own ancestor",
    ]


def test_no_spans_are_drawn_as_such() -> None:
    assert draw_picture([]) == "(no spans)"


def test_what_differs_from_a_picture_is_shown_with_ids_below() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_picture([REQUEST, span(2, 1, "b")], "trace 1\n  request INTERNAL [s] ERROR\n")
    message = str(caught.value)
    assert "+  └─ b INTERNAL [s]" in message
    assert "id=0000000000000002" in message


def test_a_drawing_has_attributes_and_links() -> None:
    lines = draw_tree(SPANS, attributes=["n"]).splitlines()
    assert "    ├─ b INTERNAL [s] n=2 id=0000000000000002" in lines
    assert f"       │  ~> linked to 0000000000000001 of trace {TRACE}" in lines
