"""Pictures of exported spans: text that is the same in each run, to be committed and compared.

Pure. Below lie ``spans`` and ``trees``; above lie tests.

Invariant: a picture depends on names, kinds, services, status, edges and the attributes asked for,
and on nothing that differs from run to run: no ids, no times, no order of arrival or start. What
stands beside each other is sorted by its text.
"""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from linkspan_propagation.testing.spans import ExportedLink, ExportedSpan
from linkspan_propagation.testing.trees import OPEN, attribute_words, draw_tree, traces

_BRANCHES: Final = ("├─ ", "└─ ")
_BELOW: Final = ("│  ", "   ")


def draw_picture(spans: Iterable[ExportedSpan], *, attributes: Sequence[str] = ()) -> str:
    """Return one picture of all traces in ``spans``, which are numbered from 1.

    A line for each span: name, kind, service, status if it is set, attributes; and below it one for
    each of its links. A span whose parent is not among ``spans`` is marked.

    Args:
        spans: in any order.
        attributes: names of attributes to draw of the spans that have them, in this order. Choose
            such whose values are the same in each run.
    """
    forest = _Forest(spans, attributes)
    return "\n".join(forest.lines()) or "(no spans)"


def assert_picture(
    spans: Iterable[ExportedSpan], expected: str, *, attributes: Sequence[str] = ()
) -> None:
    """Assert that ``draw_picture`` of ``spans`` is ``expected``, but for blank lines around it.

    Raises:
        AssertionError: with the lines that differ, and a drawing with ids.
    """
    kept = list(spans)
    picture = draw_picture(kept, attributes=attributes)
    if picture == expected.strip("\n"):
        return
    lines = difflib.unified_diff(
        expected.strip("\n").splitlines(), picture.splitlines(), "expected", "exported", lineterm=""
    )
    drawing = draw_tree(kept, attributes=attributes)
    raise AssertionError("not the picture:\n" + "\n".join(lines) + f"\n\n{drawing}")


class _Forest:
    """The trees of some spans, and the order in which to draw them."""

    def __init__(self, spans: Iterable[ExportedSpan], attributes: Sequence[str]) -> None:
        self._attributes = attributes
        self._traces = traces(spans)
        self._by_id = {
            (span.trace_id, span.span_id): span
            for members in self._traces.values()
            for span in members
        }
        self._children: defaultdict[tuple[str, str], list[ExportedSpan]] = defaultdict(list)
        self._tops: defaultdict[str, list[ExportedSpan]] = defaultdict(list)
        self._plain_blocks: dict[tuple[str, str], list[str]] = {}
        for span in self._by_id.values():
            parent = (span.trace_id, span.parent_span_id)
            if parent in self._by_id:
                self._children[parent].append(span)
            else:
                self._tops[span.trace_id].append(span)
        for trace_id, members in self._traces.items():
            if not self._tops[trace_id]:  # all go round in a circle
                self._tops[trace_id] = [min(members, key=self._line)]

    def lines(self) -> list[str]:
        """Return the picture."""
        texts = {trace_id: self._texts(trace_id, None) for trace_id in self._traces}
        ordered = sorted(self._traces, key=texts.__getitem__)
        numbers = {trace_id: number for number, trace_id in enumerate(ordered, 1)}
        lines: list[str] = []
        for trace_id in ordered:
            lines.append(f"trace {numbers[trace_id]}")
            lines += self._texts(trace_id, numbers)
        return lines

    def _texts(self, trace_id: str, numbers: Mapping[str, int] | None) -> list[str]:
        """Return the lines of a trace; without ``numbers`` those that no other trace changes."""
        blocks = sorted(
            (self._block(top, numbers, frozenset()) for top in self._tops[trace_id]),
        )
        return [f"  {line}" for block in blocks for line in block]

    def _block(
        self,
        span: ExportedSpan,
        numbers: Mapping[str, int] | None,
        above: frozenset[tuple[str, str]],
    ) -> list[str]:
        own = (span.trace_id, span.span_id)
        if own in above:
            return [f"{self._line(span)} is its own ancestor"]
        children = sorted(
            self._children[own], key=lambda child: self._plain_block(child, above | {own})
        )
        lines = [self._line(span)]
        bar = _BELOW[0] if children else _BELOW[1]
        lines += sorted(f"{bar}~> linked to {self._target(link, numbers)}" for link in span.links)
        for child in children:
            is_last = child is children[-1]
            first, *rest = self._block(child, numbers, above | {own})
            lines.append(f"{_BRANCHES[is_last]}{first}")
            lines += [f"{_BELOW[is_last]}{line}" for line in rest]
        return lines

    def _plain_block(self, span: ExportedSpan, above: frozenset[tuple[str, str]]) -> list[str]:
        """Return what is the same whatever the traces are numbered."""
        own = (span.trace_id, span.span_id)
        if own not in self._plain_blocks:
            self._plain_blocks[own] = self._block(span, None, above)
        return self._plain_blocks[own]

    def _line(self, span: ExportedSpan) -> str:
        words = [span.name, span.kind, f"[{span.service_name or '-'}]"]
        if span.status_code != "UNSET":
            words.append(span.status_code)
        words += attribute_words(span, self._attributes)
        if span.is_open:
            words.append(OPEN)
        if span.parent_span_id and (span.trace_id, span.parent_span_id) not in self._by_id:
            words.append("<- parent is not here")
        return " ".join(words)

    def _target(self, link: ExportedLink, numbers: Mapping[str, int] | None) -> str:
        span = self._by_id.get((link.trace_id, link.span_id))
        if span is None:
            return "a span that is not here"
        where = "" if numbers is None else f" of trace {numbers[span.trace_id]}"
        return f"{span.name} [{span.service_name or '-'}]{where}"
