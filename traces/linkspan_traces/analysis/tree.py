"""The tree of a trace, and where it does not stitch. Pure.

Invariants: each span is in the tree exactly once, whatever its parent says; the tree depends on the
spans only, not on the order in which they came; nothing recurses, so any depth will do.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from linkspan_traces.model import Span

WHOLE: Final = "whole"
OUTSIDE: Final = "outside"
BROKEN: Final = "broken"
"""How a trace stitches: one root and all parents there; or but for the caller's span, which another
process may have exported elsewhere; or not."""

MARKER_SUFFIX: Final = " started"
"""What a start marker's name has behind that of the operation."""

_REMOTE_KINDS: Final = ("SERVER", "CONSUMER")


@dataclass(frozen=True, slots=True)
class Problem:
    """An edge that is not there, or a root too many.

    Attributes:
        code: `orphan` (the parent never came), `outside` (so it is, but it may be the caller's),
            `roots` (a root beside the first) or `cycle` (its own ancestor).
        span_id: The span at the edge.
        text: One sentence that names the edge.
    """

    code: str
    span_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Tree:
    """The spans of a trace, put together.

    Attributes:
        spans: Every span, parents before children and children by their beginning, as drawn.
        depths: For each of `spans`, how far it is from its top; a top has 0.
        tops: The spans at the left, the first of which is the trace's own beginning.
        children: The children of each span that has any, by its id, in order of their beginning.
        problems: Why the trace does not stitch; empty if it does.
    """

    spans: Sequence[Span]
    depths: Sequence[int]
    tops: Sequence[Span]
    children: Mapping[str, Sequence[Span]]
    problems: Sequence[Problem]

    @property
    def stitch(self) -> str:
        """`WHOLE`, `OUTSIDE` or `BROKEN`."""
        if not self.problems:
            return WHOLE
        return OUTSIDE if all(each.code == OUTSIDE for each in self.problems) else BROKEN


def build_tree(spans: Iterable[Span]) -> Tree:
    """Put the spans of one trace together.

    Args:
        spans: At least one; of several with one id the first counts. A start marker stands for the
            span whose beginning it tells, unless that is there itself.
    """
    by_id = _by_id(spans)
    children: defaultdict[str, list[Span]] = defaultdict(list)
    roots: list[Span] = []
    orphans: list[Span] = []
    for span in sorted(by_id.values(), key=_order):
        if not span.parent_id:
            roots.append(span)
        elif span.parent_id in by_id and span.parent_id != span.span_id:
            children[span.parent_id].append(span)
        elif span.parent_id == span.span_id:
            continue  # its own parent: found below, as a circle
        else:
            orphans.append(span)
    tops = [*roots, *orphans]
    drawn, depths = _walk(tops, children)
    circles = _cut_circles(by_id, {span.span_id for span in drawn}, children)
    for top in circles:
        more, deeper = _walk([top], children)
        drawn += more
        depths += deeper
    problems = _problems(roots, orphans, circles)
    return Tree(drawn, depths, [*tops, *circles], children, problems)


def label(span: Span) -> str:
    """Name a span in a sentence."""
    where = f" of {span.service}" if span.service else ""
    return f"{span.name or 'a span without a name'}{where}"


def _by_id(spans: Iterable[Span]) -> dict[str, Span]:
    by_id: dict[str, Span] = {}
    markers: list[Span] = []
    for span in spans:
        if span.starts:
            markers.append(span)
        else:
            by_id.setdefault(span.span_id, span)
    for marker in markers:
        if marker.starts not in by_id:
            name = marker.name.removesuffix(MARKER_SUFFIX)
            # The marker of a root is below it, for there is nothing beside a root.
            parent_id = "" if marker.parent_id == marker.starts else marker.parent_id
            by_id[marker.starts] = replace(
                marker,
                span_id=marker.starts,
                parent_id=parent_id,
                name=name,
                end_nanos=0,
                starts="",
            )
    return by_id


def _order(span: Span) -> tuple[int, int, str]:
    return (span.start_nanos, -span.end_nanos, span.span_id)


def _walk(
    tops: Sequence[Span], children: Mapping[str, Sequence[Span]]
) -> tuple[list[Span], list[int]]:
    drawn: list[Span] = []
    depths: list[int] = []
    left = [(top, 0) for top in reversed(tops)]
    while left:
        span, depth = left.pop()
        drawn.append(span)
        depths.append(depth)
        left += [(child, depth + 1) for child in reversed(children.get(span.span_id, ()))]
    return drawn, depths


def _cut_circles(
    by_id: Mapping[str, Span], drawn: set[str], children: dict[str, list[Span]]
) -> list[Span]:
    """Cut each circle before its earliest span, and return those spans."""
    tops: list[Span] = []
    left = sorted((span for each, span in by_id.items() if each not in drawn), key=_order)
    seen = set(drawn)
    for span in left:
        if span.span_id in seen:
            continue
        circle, at = set[str](), span
        while at.span_id not in circle:  # up to the circle that it hangs on
            circle.add(at.span_id)
            at = by_id[at.parent_id]
        members = [at]
        while members[-1].parent_id != at.span_id:
            members.append(by_id[members[-1].parent_id])
        top = min(members, key=_order)
        siblings = children.get(top.parent_id, [])
        if top in siblings:
            siblings.remove(top)
        tops.append(top)
        reached, _ = _walk([top], children)
        seen.update(each.span_id for each in reached)
    return tops


def _problems(
    roots: Sequence[Span], orphans: Sequence[Span], circles: Sequence[Span]
) -> list[Problem]:
    alone = len(roots) + len(orphans) + len(circles) == 1
    problems = [_orphan(span, alone=alone) for span in orphans]
    problems += [
        Problem(
            "roots",
            span.span_id,
            f"{label(span)} is a root, beside {label(roots[0])}: a trace has one",
        )
        for span in roots[1:]
    ]
    problems += [
        Problem("cycle", span.span_id, f"{label(span)} is its own ancestor") for span in circles
    ]
    return problems


def _orphan(span: Span, *, alone: bool) -> Problem:
    remote = span.parent_is_remote
    if remote is None:
        remote = span.kind in _REMOTE_KINDS
    if alone and remote:
        return Problem(
            OUTSIDE,
            span.span_id,
            f"the parent of {label(span)}, {span.parent_id}, has not come: it may still, or its "
            "caller sends its spans elsewhere",
        )
    return Problem(
        "orphan",
        span.span_id,
        f"the parent of {label(span)}, {span.parent_id}, has not come",
    )
