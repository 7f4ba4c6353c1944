"""Pictures of exported spans: text that is the same in each run, to be committed and compared.

Pure. Below lie ``spans`` and ``trees``; above lie tests.

Invariant: a picture depends on names, kinds, services, status, edges and the attributes and events
asked for, and on nothing that differs from run to run: no ids, no times, no order of arrival or
start. What stands beside each other is sorted by its text.
"""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypedDict, Unpack

from linkspan_propagation.testing.spans import Attributes, ExportedLink, ExportedSpan
from linkspan_propagation.testing.trees import OPEN, draw_tree, traces

_BRANCHES: Final = ("├─ ", "└─ ")
_BELOW: Final = ("│  ", "   ")


class PictureOptions(TypedDict, total=False):
    """What a picture shows beside names, kinds, services, status, edges and links.

    Attributes:
        attributes: names of attributes that stand on the line of a span that has them, in this order.
        details: names of attributes that stand on lines of their own below it, in this order.
        events: names of events to draw, in the order of their times, with the names of those of their
            attributes to draw. Equal ones are drawn once: how often something is tried again depends
            on how fast it is.
        varying: attributes whose values are others in each run, with what to call such a value: it is
            drawn as that with a number, which is the same wherever the value is.

    Of all others, choose such whose values are the same in each run.
    """

    attributes: Sequence[str]
    details: Sequence[str]
    events: Mapping[str, Sequence[str]]
    varying: Mapping[str, str]


def draw_picture(spans: Iterable[ExportedSpan], **options: Unpack[PictureOptions]) -> str:
    """Return one picture of all traces in ``spans``, which are numbered from 1.

    A line for each span: name, kind, service, status if it is set, attributes; and below it one for
    each of its details, events and links. A span whose parent is not among ``spans`` is marked.

    Args:
        spans: in any order.
        options: what else is to be seen.
    """
    forest = _Forest(spans, _Style(**options))
    return "\n".join(forest.lines()) or "(no spans)"


def assert_picture(
    spans: Iterable[ExportedSpan], expected: str, **options: Unpack[PictureOptions]
) -> None:
    """Assert that ``draw_picture`` of ``spans`` is ``expected``, but for blank lines around it.

    Raises:
        AssertionError: with the lines that differ, and a drawing with ids.
    """
    kept = list(spans)
    picture = draw_picture(kept, **options)
    if picture == expected.strip("\n"):
        return
    lines = difflib.unified_diff(
        expected.strip("\n").splitlines(), picture.splitlines(), "expected", "exported", lineterm=""
    )
    drawing = draw_tree(kept, attributes=options.get("attributes", ()))
    raise AssertionError("not the picture:\n" + "\n".join(lines) + f"\n\n{drawing}")


@dataclass(frozen=True, slots=True)
class _Style:
    """See ``PictureOptions``."""

    attributes: Sequence[str] = ()
    details: Sequence[str] = ()
    events: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    varying: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(slots=True)
class _Numbers:
    """What traces and values are called in a picture, as far as it is drawn."""

    traces: Mapping[str, int]
    _values: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    _counts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def call(self, kind: str, value: str) -> str:
        """Return what a value of a kind is called."""
        if (kind, value) not in self._values:
            self._counts[kind] += 1
            self._values[kind, value] = f"{kind} {self._counts[kind]}"
        return self._values[kind, value]


class _Forest:
    """The trees of some spans, and the order in which to draw them."""

    def __init__(self, spans: Iterable[ExportedSpan], style: _Style) -> None:
        self._style = style
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
                self._tops[trace_id] = [min(members, key=lambda each: self._line(each, None))]

    def lines(self) -> list[str]:
        """Return the picture."""
        texts = {trace_id: self._texts(trace_id, None) for trace_id in self._traces}
        ordered = sorted(self._traces, key=texts.__getitem__)
        numbers = _Numbers({trace_id: number for number, trace_id in enumerate(ordered, 1)})
        lines: list[str] = []
        for trace_id in ordered:
            lines.append(f"trace {numbers.traces[trace_id]}")
            lines += self._texts(trace_id, numbers)
        return lines

    def _texts(self, trace_id: str, numbers: _Numbers | None) -> list[str]:
        """Return the lines of a trace; without ``numbers`` those that no other trace changes."""
        tops = sorted(self._tops[trace_id], key=lambda top: self._plain_block(top, frozenset()))
        blocks = [self._block(top, numbers, frozenset()) for top in tops]
        return [f"  {line}" for block in blocks for line in block]

    def _block(
        self,
        span: ExportedSpan,
        numbers: _Numbers | None,
        above: frozenset[tuple[str, str]],
    ) -> list[str]:
        own = (span.trace_id, span.span_id)
        if own in above:
            return [f"{self._line(span, numbers)} is its own ancestor"]
        children = sorted(
            self._children[own], key=lambda child: self._plain_block(child, above | {own})
        )
        lines = [self._line(span, numbers)]
        bar = _BELOW[0] if children else _BELOW[1]
        lines += [f"{bar}{line}" for line in self._details(span, numbers)]
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

    def _line(self, span: ExportedSpan, numbers: _Numbers | None) -> str:
        words = [span.name, span.kind, f"[{span.service_name or '-'}]"]
        if span.status_code != "UNSET":
            words.append(span.status_code)
        words += self._words(span.attributes, self._style.attributes, numbers)
        if span.is_open:
            words.append(OPEN)
        if span.parent_span_id and (span.trace_id, span.parent_span_id) not in self._by_id:
            words.append("<- parent is not here")
        return " ".join(words)

    def _details(self, span: ExportedSpan, numbers: _Numbers | None) -> list[str]:
        lines = self._words(span.attributes, self._style.details, numbers)
        for event in span.events:
            shown = self._style.events.get(event.name)
            if shown is not None:
                words = self._words(event.attributes, shown, numbers)
                lines.append(" ".join((f"* {event.name}", *words)))
        return list(dict.fromkeys(lines))

    def _words(
        self, attributes: Attributes, names: Sequence[str], numbers: _Numbers | None
    ) -> list[str]:
        words: list[str] = []
        for name in names:
            if name in attributes:
                kind, value = self._style.varying.get(name), f"{attributes[name]!s}"
                if kind is not None:
                    value = kind if numbers is None else numbers.call(kind, value)
                words.append(f"{name}={value}")
        return words

    def _target(self, link: ExportedLink, numbers: _Numbers | None) -> str:
        span = self._by_id.get((link.trace_id, link.span_id))
        if span is None:
            return "a span that is not here"
        where = "" if numbers is None else f" of trace {numbers.traces[span.trace_id]}"
        return f"{span.name} [{span.service_name or '-'}]{where}"
