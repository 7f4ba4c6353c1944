"""Gaps between a parent and its child in another process, and clocks that disagree. Pure.

What a gap is depends on who was there to see it:

- `network`: a CLIENT span above a SERVER span. Both saw one call; between their beginnings it was on
  its way, or in line before the server.
- `queue`: a PRODUCER span above a CONSUMER span.
- `handover`: another process takes over without a CLIENT span between. The time from what the parent
  did last before (an earlier child's end, or its own beginning) holds its own work, the network and
  the line before the other process, which nobody told apart.

Within one process there are no gaps: what a parent does before its child begins is its own time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from linkspan_traces.analysis.timing import Extent, extent_of
from linkspan_traces.analysis.tree import Tree
from linkspan_traces.model import Span

NETWORK: Final = "network"
QUEUE: Final = "queue"
HANDOVER: Final = "handover"

_KINDS: Final = {("CLIENT", "SERVER"): NETWORK, ("PRODUCER", "CONSUMER"): QUEUE}

_LOOK_BACK: Final = 50
"""How many earlier children are looked at for the one that ended last before."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The time between a parent and its child in another process.

    Attributes:
        kind: `network`, `queue` or `handover`.
        before_nanos: On the way there; the gap ends where the child begins.
        after_nanos: On the way back; it begins where the child ends. 0 if nobody waited.
    """

    kind: str
    before_nanos: int
    after_nanos: int


@dataclass(frozen=True, slots=True)
class Skew:
    """Two clocks that cannot both be right, or a parent's that was set.

    Attributes:
        nanos: By how much the child begins before its parent, at least.
        across: Whether the two are of different processes.
    """

    nanos: int
    across: bool


def gaps_of(tree: Tree, trace: Extent) -> dict[str, Gap]:
    """Return the gap of each span that has one, by its id."""
    gaps: dict[str, Gap] = {}
    for parent in tree.spans:
        children = tree.children.get(parent.span_id, ())
        for place, child in enumerate(children):
            if is_across(parent, child) and child.start_nanos >= parent.start_nanos:
                gaps[child.span_id] = _gap(parent, child, children[:place], trace)
    return gaps


def skews_of(tree: Tree) -> dict[str, Skew]:
    """Return by how much spans begin before their parents, for those that do, by id."""
    skews: dict[str, Skew] = {}
    for parent in tree.spans:
        for child in tree.children.get(parent.span_id, ()):
            if child.start_nanos < parent.start_nanos:
                nanos = parent.start_nanos - child.start_nanos
                skews[child.span_id] = Skew(nanos, is_across(parent, child))
    return skews


def is_across(parent: Span, child: Span) -> bool:
    """Tell whether a child is of another process than its parent."""
    if parent.service != child.service:
        return True
    return bool(parent.instance and child.instance and parent.instance != child.instance)


def parents_of(tree: Tree) -> Mapping[str, Span]:
    """Return the parent of each span that has one in the tree, by the child's id."""
    return {
        child.span_id: parent
        for parent in tree.spans
        for child in tree.children.get(parent.span_id, ())
    }


def _gap(parent: Span, child: Span, earlier: Sequence[Span], trace: Extent) -> Gap:
    kind = _KINDS.get((parent.kind, child.kind), HANDOVER)
    since = parent.start_nanos
    if kind == HANDOVER:
        ends = (extent_of(each, trace).end for each in earlier[-_LOOK_BACK:])
        since = max([since, *(end for end in ends if end <= child.start_nanos)])
    after = 0
    if kind == NETWORK and not parent.is_open and not child.is_open:
        after = max(0, parent.end_nanos - extent_of(child, trace).end)
    return Gap(kind, child.start_nanos - since, after)
