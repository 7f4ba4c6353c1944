"""A trace as a waterfall: one row a span, with all that the page and the terminal draw. Pure.

Rows are JSON objects. Epoch nanoseconds are more than a JavaScript number can hold, so a trace has
its beginning as text, and rows have offsets from it.
"""

from collections.abc import Iterable, Mapping, Sequence

from linkspan_traces.analysis.gaps import Gap, Skew, gaps_of, skews_of
from linkspan_traces.analysis.summary import is_failed
from linkspan_traces.analysis.timing import (
    Extent,
    Segment,
    critical_nanos,
    critical_path,
    extent_of,
    extent_of_trace,
    own_nanos,
)
from linkspan_traces.analysis.tree import Tree, build_tree
from linkspan_traces.model import JsonObject, Span


def waterfall(spans: Iterable[Span]) -> JsonObject:
    """Put a trace together for drawing.

    Args:
        spans: The spans of one trace, at least one.

    Returns:
        `start_nanos` (text), `duration_nanos`, `services` in order of appearance, `stitch`,
        `problems` (`code`, `span_id`, `text`) and `spans`: rows in the order to draw them, see
        `_row`. Times in rows are numbers of nanoseconds; `offset_nanos` is from the trace's start.
    """
    tree = build_tree(spans)
    trace = extent_of_trace(tree.spans)
    path = critical_path(tree, trace)
    waited = critical_nanos(path)
    segments: dict[str, list[Segment]] = {}
    for segment in reversed(path):
        segments.setdefault(segment.span_id, []).append(segment)
    gaps, skews = gaps_of(tree, trace), skews_of(tree)
    flagged = {problem.span_id: problem.code for problem in tree.problems}
    rows = [
        _row(
            span,
            depth,
            tree,
            trace,
            segments.get(span.span_id, ()),
            waited.get(span.span_id, 0),
            gaps.get(span.span_id),
            skews.get(span.span_id),
            flagged.get(span.span_id, ""),
        )
        for span, depth in zip(tree.spans, tree.depths, strict=True)
    ]
    return {
        "start_nanos": str(trace.start),
        "duration_nanos": trace.nanos,
        "services": list(dict.fromkeys(span.service for span in tree.spans)),
        "stitch": tree.stitch,
        "problems": [
            {"code": each.code, "span_id": each.span_id, "text": each.text}
            for each in tree.problems
        ],
        "spans": rows,
    }


def _row(
    span: Span,
    depth: int,
    tree: Tree,
    trace: Extent,
    segments: Sequence[Segment],
    waited: int,
    gap: Gap | None,
    skew: Skew | None,
    problem: str,
) -> Mapping[str, object]:
    extent = extent_of(span, trace)
    children = tree.children.get(span.span_id, ())
    row: dict[str, object] = {
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "depth": depth,
        "children": len(children),
        "name": span.name,
        "kind": span.kind,
        "service": span.service,
        "offset_nanos": extent.start - trace.start,
        "duration_nanos": extent.nanos,
        "own_nanos": own_nanos(span, children, trace),
        "status": "error" if span.status == "ERROR" else "warning" if is_failed(span) else "ok",
        "failure": span.failure,
        "links": len(span.links),
    }
    if span.is_open:
        row["open"] = True
    elif span.end_nanos < span.start_nanos:
        row["backwards_nanos"] = span.start_nanos - span.end_nanos
    if problem:
        row["problem"] = problem
    if segments:
        row["critical_nanos"] = waited
        row["critical"] = [[each.start - trace.start, each.end - trace.start] for each in segments]
    if gap is not None:
        row["gap"] = {"kind": gap.kind, "before": gap.before_nanos, "after": gap.after_nanos}
    if skew is not None:
        row["skew"] = {"nanos": skew.nanos, "across": skew.across}
    return row
