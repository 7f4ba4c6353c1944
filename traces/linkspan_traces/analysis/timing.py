"""Time in a trace: its extent, the critical path, a span's own time. Pure.

An open span, one that is not known to have ended, lasts to the end of the trace as far as is known.
A span that ends before it begins, as clocks that were set may have it, lasts no time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from linkspan_traces.analysis.tree import Tree
from linkspan_traces.model import Span


@dataclass(frozen=True, slots=True)
class Extent:
    """When something began and ended, in nanoseconds since the Unix epoch."""

    start: int
    end: int

    @property
    def nanos(self) -> int:
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the critical path: what the trace waited for at that time."""

    span_id: str
    start: int
    end: int


def extent_of_trace(spans: Sequence[Span]) -> Extent:
    """Return when the first of at least one span began and the last ended."""
    start = min(span.start_nanos for span in spans)
    end = max(max(span.start_nanos, span.end_nanos) for span in spans)
    return Extent(start, end)


def extent_of(span: Span, trace: Extent) -> Extent:
    """Return when a span began and ended, as this module's docstring says."""
    end = trace.end if span.is_open else span.end_nanos
    return Extent(span.start_nanos, max(span.start_nanos, end))


def own_nanos(span: Span, children: Sequence[Span], trace: Extent) -> int:
    """Return how long a span ran without any of its children running."""
    own = extent_of(span, trace)
    covered, reached = 0, own.start
    for child in children:  # in order of their beginning
        theirs = extent_of(child, trace)
        start, end = max(theirs.start, reached), min(theirs.end, own.end)
        if end > start:
            covered += end - start
            reached = end
    return own.nanos - covered


def critical_path(tree: Tree, trace: Extent) -> list[Segment]:
    """Return what the trace's first top waited for, latest first.

    From the end of a span backwards: the child that ended last was waited for; before it began, the
    child that had ended last by then; what is between them is the span's own. What a child does
    after its parent's end nobody waits for.
    """
    if not tree.tops:
        return []
    segments: list[Segment] = []
    whole = extent_of(tree.tops[0], trace)
    left = [_part(tree, tree.tops[0], whole.start, whole.end, trace)]
    while left:
        part = left.pop()
        while part.children:
            since, until, child = part.children.pop()
            if until > part.end or until <= since:  # beside what was waited for, or no time at all
                continue
            if until < part.end:
                segments.append(Segment(part.span_id, until, part.end))
            part.end = since
            left += [part, _part(tree, child, since, until, trace)]
            break
        else:
            if part.end > part.start:
                segments.append(Segment(part.span_id, part.start, part.end))
    return segments


def critical_nanos(segments: Sequence[Segment]) -> dict[str, int]:
    """Return how long the trace waited for each span that is on the critical path."""
    totals: dict[str, int] = {}
    for segment in segments:
        totals[segment.span_id] = totals.get(segment.span_id, 0) + segment.end - segment.start
    return totals


@dataclass(slots=True)
class _Part:
    """What of a span is not accounted for yet, and its children, the one that ended last last."""

    span_id: str
    start: int
    end: int
    children: list[tuple[int, int, Span]]


def _part(tree: Tree, span: Span, start: int, end: int, trace: Extent) -> _Part:
    children: list[tuple[int, int, Span]] = []
    for child in tree.children.get(span.span_id, ()):
        theirs = extent_of(child, trace)
        children.append((max(theirs.start, start), min(theirs.end, end), child))
    children.sort(key=lambda each: each[1])
    return _Part(span.span_id, start, end, children)
