"""Trees, critical paths, gaps and what does not stitch: tables over made-up spans."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.requirements import requirement

from linkspan_traces.analysis.gaps import Gap, Skew, gaps_of, skews_of
from linkspan_traces.analysis.summary import summarise
from linkspan_traces.analysis.timing import (
    critical_nanos,
    critical_path,
    extent_of_trace,
    own_nanos,
)
from linkspan_traces.analysis.tree import Tree, build_tree
from linkspan_traces.analysis.waterfall import waterfall
from linkspan_traces.model import Span
from linkspan_traces.store.rows import ListedTrace

B = 1_000


def span(name: str, parent: str = "", start: int = 0, end: int = 100, **more: object) -> Span:
    """Make a span of service `s`; its id is its name."""
    made = Span("t", name, parent, name, service="s", start_nanos=B + start, end_nanos=B + end)
    if end < 0:
        made = replace(made, end_nanos=0)
    return replace(made, **more)  # type: ignore[arg-type]


def drawn(tree: Tree) -> str:
    return " ".join(
        "." * depth + each.name for each, depth in zip(tree.spans, tree.depths, strict=True)
    )


def test_children_are_drawn_below_their_parents_by_their_beginning() -> None:
    spans = [
        span("a"),
        span("c", "a", 50),
        span("b", "a", 10),
        span("d", "b", 20),
        span("e", "a", 60),
    ]
    spans = [spans[at] for at in (3, 1, 4, 0, 2)]
    tree = build_tree(spans)
    assert drawn(tree) == "a .b ..d .c .e"
    assert (tree.stitch, list(tree.problems)) == ("whole", [])


@requirement("traces.stitch")
@pytest.mark.parametrize(
    ("spans", "picture", "stitch", "problems"),
    [
        ([span("a")], "a", "whole", []),
        ([span("a", "x", kind="SERVER")], "a", "outside", ["outside a"]),
        ([span("a", "x", parent_is_remote=True)], "a", "outside", ["outside a"]),
        # Its own process lost the parent: nobody else could have it.
        ([span("a", "x")], "a", "broken", ["orphan a"]),
        ([span("a", "x", kind="SERVER", parent_is_remote=False)], "a", "broken", ["orphan a"]),
        ([span("a"), span("b", "x", kind="SERVER")], "a b", "broken", ["orphan b"]),
        ([span("a"), span("b", start=1)], "a b", "broken", ["roots b"]),
        (
            [span("a", "x", kind="SERVER"), span("b", "y", 1, kind="SERVER")],
            "a b",
            "broken",
            ["orphan a", "orphan b"],
        ),
        ([span("a"), span("b", "b", 1)], "a b", "broken", ["cycle b"]),
        (
            [span("a"), span("b", "d", 1), span("c", "b", 2), span("d", "c", 3), span("e", "d", 4)],
            "a b .c ..d ...e",
            "broken",
            ["cycle b"],
        ),
        ([span("b", "c", 1), span("c", "b", 2)], "b .c", "broken", ["cycle b"]),
    ],
)
def test_what_does_not_stitch_is_named_and_drawn(
    spans: list[Span], picture: str, stitch: str, problems: list[str]
) -> None:
    for order in (spans, spans[::-1]):
        tree = build_tree(order)
        assert drawn(tree) == picture
        assert tree.stitch == stitch
        assert [f"{each.code} {each.span_id}" for each in tree.problems] == problems
        for each in tree.problems:
            assert each.span_id in each.text


@pytest.mark.parametrize(
    ("spans", "method", "tool"),
    [
        ([span("a", method="ping")], "ping", ""),
        ([span("a", tool="add")], "", "add"),
        # Worker, session server and tool of one request: not each names all.
        (
            [span("a", method="m"), span("b", "a", 1, method="m"), span("c", "b", 2, tool="add")],
            "m",
            "add",
        ),
        # Two requests below one span of the caller.
        (
            [
                span("a"),
                span("b", "a", 1, method="initialize"),
                span("c", "a", 2, method="tools/call", tool="add"),
            ],
            "initialize",
            "",
        ),
        # An agent's span names a tool, which is not that of the first request.
        (
            [span("a", tool="plan"), span("b", "a", 1, method="tools/call", tool="add")],
            "tools/call",
            "add",
        ),
    ],
)
def test_method_and_tool_of_a_trace_are_of_one_request(
    spans: list[Span], method: str, tool: str
) -> None:
    summary = summarise(spans)
    assert (summary.method, summary.tool) == (method, tool)


@pytest.mark.parametrize(
    ("stitch", "waited", "arriving"),
    [
        ("whole", 0, False),
        ("outside", 1_000, True),
        ("broken", 9_999, True),
        ("outside", 10_000, False),
        ("broken", 10_000, False),
    ],
)
def test_what_a_trace_lacks_may_come_for_ten_seconds(
    stitch: str, waited: int, arriving: bool
) -> None:
    listed = ListedTrace.of(("t", "", "", 0, 0, 1, 0, 0, "ok", stitch, "", "", "", "[]", 500))
    assert listed.is_arriving(500 + waited) == arriving


def test_a_broken_edge_names_the_parent_that_never_came() -> None:
    (problem,) = build_tree([span("a"), span("b", "feedfeedfeedfeed", 1)]).problems
    assert "b of s" in problem.text
    assert "feedfeedfeedfeed" in problem.text


@requirement("traces.open")
def test_a_start_marker_stands_for_its_span_until_that_comes() -> None:
    marker = replace(span("m", "a", 10, 10), starts="long", name="listen started")
    child = span("c", "long", 20, 30)
    tree = build_tree([span("a"), marker, child])
    assert drawn(tree) == "a .listen ..c"
    assert (tree.spans[1].span_id, tree.spans[1].is_open, tree.stitch) == ("long", True, "whole")
    ended = span("long", "a", 10, 90)
    assert drawn(build_tree([span("a"), marker, child, ended])) == "a .long ..c"


def test_the_marker_of_a_root_stands_for_a_root() -> None:
    marker = replace(span("m", "long", 10, 10), starts="long", name="listen started")
    tree = build_tree([marker, span("c", "long", 20, 30)])
    assert drawn(tree) == "listen .c"
    assert (tree.tops[0].span_id, tree.tops[0].is_open, tree.stitch) == ("long", True, "whole")


def test_ten_thousand_spans_deep_is_no_deeper_than_python_goes() -> None:
    chain = [span("0", "", 0, 20_000)]
    chain += [span(str(i), str(i - 1), i, 20_000 - i) for i in range(1, 10_000)]
    drawing = waterfall(chain)
    assert drawing["stitch"] == "whole"
    rows = drawing["spans"]
    assert isinstance(rows, list)
    assert rows[-1]["depth"] == 9_999


@requirement("traces.critical-path")
@pytest.mark.parametrize(
    ("spans", "path"),
    [
        ([span("a")], "a0-100"),
        ([span("a"), span("b", "a", 20, 60)], "a0-20 b20-60 a60-100"),
        # Of two at once, the one that ends last is waited for, and what came before the two.
        (
            [span("a"), span("b", "a", 10, 30), span("c", "a", 20, 90), span("d", "a", 0, 15)],
            "d0-15 a15-20 c20-90 a90-100",
        ),
        ([span("a"), span("b", "a", 10, 95), span("c", "a", 20, 60)], "a0-10 b10-95 a95-100"),
        # What outlives its parent is cut at the parent's end.
        ([span("a"), span("b", "a", 50, 500)], "a0-50 b50-100"),
        ([span("a"), span("b", "a", 200, 500)], "a0-100"),
        ([span("a"), span("b", "a", 10, 90), span("c", "b", 10, 90)], "a0-10 c10-90 a90-100"),
        ([span("a"), span("b", "a", 40, 40)], "a0-100"),
        ([span("a"), span("b", "a", 60, 20)], "a0-100"),
        ([span("a", "", 0, -1), span("b", "a", 10, 80)], "a0-10 b10-80"),
        # A child that began before its parent, by clocks that disagree.
        ([span("a", "", 50, 100), span("b", "a", 20, 80)], "b50-80 a80-100"),
    ],
)
def test_the_critical_path_is_what_was_waited_for(spans: list[Span], path: str) -> None:
    tree = build_tree(spans)
    segments = critical_path(tree, extent_of_trace(tree.spans))
    written = [f"{each.span_id}{each.start - B}-{each.end - B}" for each in reversed(segments)]
    assert " ".join(written) == path


@requirement("traces.critical-path")
def test_the_critical_path_of_any_trace_covers_its_root_once() -> None:
    chance = random.Random(11)  # noqa: S311 - the same each time
    for _ in range(200):
        spans = [span("0", "", 0, 1000)]
        for i in range(1, chance.randint(2, 40)):
            start = chance.randint(-50, 1100)
            parent = str(chance.randrange(i))
            spans.append(span(str(i), parent, start, start + chance.randint(0, 600)))
        tree = build_tree(spans)
        segments = critical_path(tree, extent_of_trace(tree.spans))
        assert sum(critical_nanos(segments).values()) == 1000
        edges = [(each.start, each.end) for each in reversed(segments)]
        assert all(a[1] == b[0] for a, b in pairwise(edges))


def test_a_spans_own_time_is_without_its_children_each_moment_once() -> None:
    children = [
        span("b", "a", 10, 40),
        span("c", "a", 20, 30),
        span("d", "a", 35, 50),
        span("e", "a", 90, 300),
    ]
    tree = build_tree([span("a"), *children])
    assert own_nanos(tree.spans[0], tree.children["a"], extent_of_trace(tree.spans)) == 50


@requirement("traces.gaps")
@pytest.mark.parametrize(
    ("parent_kind", "child_kind", "child_service", "gap"),
    [
        ("CLIENT", "SERVER", "other", Gap("network", 20, 30)),
        ("PRODUCER", "CONSUMER", "other", Gap("queue", 20, 0)),
        ("SERVER", "SERVER", "other", Gap("handover", 20, 0)),
        ("CLIENT", "SERVER", "s", None),
    ],
)
def test_a_gap_between_processes_is_named_by_who_saw_it(
    parent_kind: str, child_kind: str, child_service: str, gap: Gap | None
) -> None:
    tree = build_tree(
        [
            span("a", kind=parent_kind),
            span("b", "a", 20, 70, kind=child_kind, service=child_service),
        ]
    )
    assert gaps_of(tree, extent_of_trace(tree.spans)).get("b") == gap


def test_processes_of_one_service_have_gaps_between_them() -> None:
    parent = span("a", kind="CLIENT", instance="1")
    child = span("b", "a", 20, 70, kind="SERVER", instance="2")
    tree = build_tree([parent, child])
    assert gaps_of(tree, extent_of_trace(tree.spans))["b"] == Gap("network", 20, 30)


def test_a_second_handover_counts_from_the_end_of_the_first() -> None:
    spans = [span("a"), span("b", "a", 10, 40, service="o"), span("c", "a", 55, 90, service="o")]
    tree = build_tree(spans)
    assert gaps_of(tree, extent_of_trace(tree.spans)) == {
        "b": Gap("handover", 10, 0),
        "c": Gap("handover", 15, 0),
    }


def test_a_child_that_begins_before_its_parent_is_skewed_and_has_no_gap() -> None:
    spans = [span("a", "", 30), span("b", "a", 10, 40, service="o"), span("c", "a", 25, 40)]
    tree = build_tree(spans)
    assert skews_of(tree) == {"b": Skew(20, across=True), "c": Skew(5, across=False)}
    assert gaps_of(tree, extent_of_trace(tree.spans)) == {}


def test_a_span_that_ends_before_it_begins_takes_no_time_and_says_so() -> None:
    drawing = waterfall([span("a"), span("b", "a", 60, 20)])
    rows = drawing["spans"]
    assert isinstance(rows, list)
    assert (rows[1]["duration_nanos"], rows[1]["backwards_nanos"]) == (0, 40)


@pytest.mark.parametrize(
    ("spans", "status"),
    [
        ([span("a"), span("b", "a")], "ok"),
        ([span("a"), span("b", "a", failure="404")], "warning"),
        ([span("a", failure="x"), span("b", "a", status="ERROR")], "error"),
    ],
)
def test_a_trace_is_as_bad_as_its_worst_span(spans: list[Span], status: str) -> None:
    assert summarise(spans).status == status
