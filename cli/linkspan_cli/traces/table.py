"""Traces as rows of a table. Pure.

Columns have fixed widths, so that rows can be written as they come; the last one is free.
"""

from collections.abc import Mapping
from typing import Any, Final

from linkspan_cli.sessions.formats import fit, number, plain
from linkspan_cli.traces.times import clock, took
from linkspan_cli.traces.waterfall import Paint, headline

_GAP: Final = "  "
_WIDTHS: Final = {"TRACE": 32, "BEGAN": 23, "TOOK": 8, "SPANS": 5, "STATE": 18, "WHAT": 0}
_RIGHT: Final = ("TOOK", "SPANS")
_STITCHES: Final = {"outside": "no caller", "broken": "unstitched"}
_RED: Final = 31
_YELLOW: Final = 33


def header() -> str:
    """Write the line above the table."""
    return _GAP.join(
        fit(title, cells, right=title in _RIGHT) if cells else title
        for title, cells in _WIDTHS.items()
    )


def row(trace: Mapping[str, Any], paint: Paint) -> str:
    """Write a trace, as the API has it, as a line of the table."""
    state = _state(trace)
    cells = {
        "TRACE": trace["trace_id"],
        "BEGAN": clock(trace["start_nanos"]),
        "TOOK": took(trace["duration_nanos"]),
        "SPANS": number(trace["spans"]),
        "STATE": state,
    }
    written = [fit(text, _WIDTHS[title], right=title in _RIGHT) for title, text in cells.items()]
    written[-1] = paint(written[-1], *_shade(trace))
    what = headline(trace)
    services = ", ".join(plain(service) for service in trace["services"])
    return _GAP.join([*written, f"{what} ({services})" if services else what])


def _state(trace: Mapping[str, Any]) -> str:
    words = [] if trace["status"] == "ok" else [trace["status"]]
    if trace["stitch"] != "whole":
        words.append("arriving" if trace["arriving"] else _STITCHES[trace["stitch"]])
    if trace["open_spans"]:
        words.append("open")
    return " ".join(words) or "ok"


def _shade(trace: Mapping[str, Any]) -> tuple[int, ...]:
    if trace["status"] == "error" or (trace["stitch"] == "broken" and not trace["arriving"]):
        return (_RED,)
    if trace["status"] == "warning" or trace["stitch"] != "whole":
        return (_YELLOW,)
    return ()
