"""Start markers: spans that tell that another one has begun, which is sent when it ends.

A process that is killed loses its open spans; what they were, and where they stood, is known from
their markers, where it exports such. A marker is a span with the attribute ``STARTED_SPAN_ID``, and
stands beside the span that it tells of, or below it where that is a root. Owns reading them. Pure.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from linkspan_propagation.testing.spans import ExportedSpan

STARTED_SPAN_ID: Final = "linkspan.started.span_id"
"""Attribute of a marker: the id of the span that has begun, in hex."""

STARTED_KIND: Final = "linkspan.started.kind"
"""Attribute of a marker: the kind of that span."""

SUFFIX: Final = " started"
"""What a marker's name has behind that of its span."""


def is_marker(span: ExportedSpan) -> bool:
    """Tell whether a span is a start marker."""
    return STARTED_SPAN_ID in span.attributes


def without_markers(spans: Iterable[ExportedSpan]) -> list[ExportedSpan]:
    """Return the spans; a marker is left out where its span is there, and else stands for it.

    A span that is known by its marker alone has ``is_open``, no end, and what the marker says.
    """
    arrived = list(spans)
    kept = [span for span in arrived if not is_marker(span)]
    known = {(span.trace_id, span.span_id) for span in kept}
    for marker in arrived:
        if is_marker(marker):
            stand_in = _stand_in(marker)
            if (stand_in.trace_id, stand_in.span_id) not in known:
                known.add((stand_in.trace_id, stand_in.span_id))
                kept.append(stand_in)
    return kept


def _stand_in(marker: ExportedSpan) -> ExportedSpan:
    started = str(marker.attributes[STARTED_SPAN_ID]).lower()
    return replace(
        marker,
        span_id=started,
        parent_span_id="" if marker.parent_span_id == started else marker.parent_span_id,
        name=marker.name.removesuffix(SUFFIX),
        kind=str(marker.attributes.get(STARTED_KIND, marker.kind)),
        end_unix_nanos=0,
        attributes={
            name: value
            for name, value in marker.attributes.items()
            if name not in {STARTED_SPAN_ID, STARTED_KIND}
        },
        is_open=True,
    )
