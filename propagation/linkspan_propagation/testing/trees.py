"""Trees of exported spans: drawn, sorted by trace, and asserted to be one whole trace.

Pure. Below lies ``spans``; above lie tests. ``pictures`` draws what is the same in each run.

Invariants: a drawing depends on the spans only, not on the order in which they arrived; every span
is drawn exactly once, also where parents are missing or go round in a circle; a start marker stands
in the place of the span that it tells of, and nowhere where that one came.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from linkspan_propagation.testing.markers import without_markers
from linkspan_propagation.testing.spans import ExportedSpan

OPEN: Final = "(began; its end never came)"
"""What is drawn of a span of which only the start marker came."""

_STATUS: Final = "rpc.response.status_code"


def traces(spans: Iterable[ExportedSpan]) -> dict[str, list[ExportedSpan]]:
    """Return the spans of each trace by trace id, each list in order of start.

    Start markers are left out, or stand for their spans, which then have ``is_open``.
    """
    by_trace: defaultdict[str, list[ExportedSpan]] = defaultdict(list)
    for span in sorted(without_markers(spans), key=_order):
        by_trace[span.trace_id].append(span)
    return dict(by_trace)


def draw_tree(spans: Iterable[ExportedSpan], *, attributes: Sequence[str] = ()) -> str:
    """Return one drawing of all traces in ``spans``, oldest first.

    A line for each span: name, kind, service, status, id and parent id, and one for each of its
    links. A span whose parent is not among them stands at the left, marked.

    Args:
        spans: in any order.
        attributes: names of attributes to draw of the spans that have them, in this order.
    """
    lines: list[str] = []
    for trace_id, members in sorted(traces(spans).items(), key=lambda item: _order(item[1][0])):
        lines.append(f"trace {trace_id} ({len(members)} spans)")
        lines += _draw(members, attributes)
    return "\n".join(lines) if lines else "(no spans)"


def assert_one_trace(
    spans: Iterable[ExportedSpan], *, remote_parents: Collection[str] = ()
) -> list[ExportedSpan]:
    """Assert that ``spans`` are exactly one whole trace, and return them in order of start.

    Whole means: one trace id; one root; each other span's parent is among the spans. A root is a
    span without a parent, or one whose parent's span id is in ``remote_parents``: spans of a client
    that does not export. A span that never came counts as there if its start marker is.

    Raises:
        AssertionError: naming each broken edge, with a drawing of all that there is.
    """
    ordered = sorted(without_markers(spans), key=_order)
    problems = _problems(ordered, remote_parents)
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise AssertionError(f"not one whole trace:\n{listed}\n\n{draw_tree(ordered)}")
    return ordered


def _problems(spans: Sequence[ExportedSpan], remote_parents: Collection[str]) -> list[str]:
    if not spans:
        return ["no spans"]
    problems: list[str] = []
    by_trace = traces(spans)
    if len(by_trace) != 1:
        problems.append(f"{len(by_trace)} traces instead of one: {', '.join(sorted(by_trace))}")
    by_id: dict[str, ExportedSpan] = {}
    for span in spans:
        if span.span_id in by_id:
            problems.append(f"span id {span.span_id} came twice: {_name(span)}")
        by_id[span.span_id] = span
    roots = [
        span
        for span in spans
        if not span.parent_span_id
        or (span.parent_span_id in remote_parents and span.parent_span_id not in by_id)
    ]
    if len(roots) != 1:
        named = ", ".join(_name(root) for root in roots) or "none"
        problems.append(f"{len(roots)} roots instead of one: {named}")
    for span in spans:
        if span in roots:
            continue
        parent = by_id.get(span.parent_span_id)
        if parent is None:
            problems.append(f"{_name(span)} has parent {span.parent_span_id}, which never arrived")
        elif parent.trace_id != span.trace_id:
            problems.append(
                f"{_name(span)} is in trace {span.trace_id}, its parent {_name(parent)} in another"
            )
    problems += [
        f"{_name(span)} is its own ancestor" for span in spans if _is_in_circle(span, by_id)
    ]
    return problems


def _is_in_circle(span: ExportedSpan, by_id: Mapping[str, ExportedSpan]) -> bool:
    seen: set[str] = set()
    ancestor = by_id.get(span.parent_span_id)
    while ancestor is not None and ancestor.span_id not in seen:
        if ancestor.span_id == span.span_id:
            return True
        seen.add(ancestor.span_id)
        ancestor = by_id.get(ancestor.parent_span_id)
    return False


def attribute_words(span: ExportedSpan, attributes: Sequence[str]) -> list[str]:
    """Return ``name=value`` for those of ``attributes`` that the span has, in their order."""
    return [f"{name}={span.attributes[name]!s}" for name in attributes if name in span.attributes]


def _draw(spans: Sequence[ExportedSpan], attributes: Sequence[str]) -> list[str]:
    ids = {span.span_id for span in spans}
    children: defaultdict[str, list[ExportedSpan]] = defaultdict(list)
    tops: list[ExportedSpan] = []
    for span in spans:
        (children[span.parent_span_id] if span.parent_span_id in ids else tops).append(span)
    lines: list[str] = []
    drawn: set[int] = set()

    def draw(span: ExportedSpan, indent: str, branch: str) -> None:
        if id(span) in drawn:
            return
        drawn.add(id(span))
        line = _line(span, attributes, has_parent=span.parent_span_id in ids)
        lines.append(f"{indent}{branch}{line}")
        below = indent + {"": "  ", "├─ ": "│  ", "└─ ": "   "}[branch]
        of_span = children[span.span_id]
        bar = "│  " if of_span else "   "
        lines.extend(
            f"{below}{bar}~> linked to {link.span_id} of trace {link.trace_id}"
            for link in span.links
        )
        for child in of_span:
            draw(child, below, "└─ " if child is of_span[-1] else "├─ ")

    for top in tops:
        draw(top, "  ", "")
    for span in spans:  # what is left goes round in a circle
        draw(span, "  ", "")
    return lines


def _line(span: ExportedSpan, attributes: Sequence[str], *, has_parent: bool) -> str:
    words = [span.name, span.kind, f"[{span.service_name or '-'}]"]
    if _STATUS in span.attributes:
        words.append(str(span.attributes[_STATUS]))
    if span.status_code != "UNSET":
        words.append(span.status_code)
    words += attribute_words(span, attributes)
    if span.is_open:
        words.append(OPEN)
    words.append(f"id={span.span_id}")
    if span.parent_span_id and not has_parent:
        words.append(f"<- parent {span.parent_span_id} is not here")
    return " ".join(words)


def _name(span: ExportedSpan) -> str:
    return f"{span.name!r} ({span.service_name or '-'}, id {span.span_id})"


def _order(span: ExportedSpan) -> tuple[int, int, str]:
    return (span.start_unix_nanos, -span.end_unix_nanos, span.span_id)
