"""A trace as lines of text: a tree at the left, bars at the right, as wide as the terminal. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from linkspan_cli.sessions.formats import fit, number, plain, width
from linkspan_cli.traces.times import clock, took

Row = Mapping[str, Any]

_MIN_CELLS: Final = 60
_MAX_NAME: Final = 56
_TOOK_CELLS: Final = 9
_MAX_INDENT: Final = 24
_MAX_SERVICE: Final = 18
_WIDE: Final = 100
"""From which width on there is room for a column of services."""

_GAP: Final = "  "

_WAITED: Final = "█"
_RAN: Final = "▒"
_BETWEEN: Final = "·"
_ASCII: Final = {_WAITED: "#", _RAN: "=", _BETWEEN: ".", "✗": "x", "…": "~"}

_COLOURS: Final = (34, 33, 32, 35, 36, 94, 93, 92, 95, 96)
"""Of terminals: none of the reds, which are for errors."""
_RED: Final = 31
_YELLOW: Final = 33
_BOLD: Final = 1
_FAINT: Final = 2

_PROBLEMS: Final = {
    "orphan": "no parent",
    "outside": "caller missing",
    "roots": "second root",
    "cycle": "circle",
}


class Paint:
    """Colours, or none."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    def __call__(self, text: str, *codes: int) -> str:
        """Write text in the colours of these SGR codes (ECMA-48, section 8.3.117)."""
        if not self._on or not codes or not text:
            return text
        return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m"


def draw(trace: Mapping[str, Any], cells: int, paint: Paint) -> list[str]:
    """Draw a trace.

    Args:
        trace: As the API has it.
        cells: How wide the terminal is.
        paint: Colours, or none.
    """
    cells = max(cells, _MIN_CELLS)
    rows: Sequence[Row] = trace["spans"]
    colours = {
        service: _COLOURS[place % len(_COLOURS)] for place, service in enumerate(trace["services"])
    }
    names = [_name(row) for row in rows]
    columns = _Cells.of(cells, names, trace["services"])
    lines = _heading(trace, paint, colours)
    lines += [
        _line(row, name, columns, trace["duration_nanos"], colours, paint)
        for row, name in zip(rows, names, strict=True)
    ]
    return lines


def headline(trace: Mapping[str, Any]) -> str:
    """Name a trace: its method and tool where it has them, or else its first span."""
    return plain(f"{trace['method']} {trace['tool']}".strip() or trace["name"] or "(no name)")


def _heading(trace: Mapping[str, Any], paint: Paint, colours: Mapping[str, int]) -> list[str]:
    spans = len(trace["spans"])
    facts = [
        took(trace["duration_nanos"]),
        f"{number(spans)} span{'' if spans == 1 else 's'}",
        clock(trace["start_nanos"]),
    ]
    if trace["session"]:
        facts.append(f"session {plain(trace['session'])}")
    lines = [
        f"{paint(headline(trace), _BOLD)}  trace {trace['trace_id']}",
        "  ".join(facts),
        "  ".join(
            f"{paint(_WAITED, colours[service])} {plain(service) or '(no service)'}"
            for service in trace["services"]
        ),
    ]
    grave = _YELLOW if trace["stitch"] == "outside" else _RED
    verdict = "does not stitch yet" if trace["arriving"] else "does not stitch"
    lines += [paint(f"{verdict}: {plain(problem['text'])}", grave) for problem in trace["problems"]]
    if trace["arriving"]:
        lines.append("(spans of other processes may yet come)")
    key = f"{_WAITED} waited for (the critical path)  {_RAN} the rest of each span"
    if any(row.get("gap") for row in trace["spans"]):
        key += f"  {_BETWEEN} between processes"
    return [*lines, paint(key, _FAINT), ""]


def _name(row: Row) -> str:
    marks = ""
    if row["status"] == "error":
        marks = "✗ "
    elif row["status"] == "warning":
        marks = "! "
    if row.get("problem"):
        marks += f"[{_PROBLEMS.get(row['problem'], row['problem'])}] "
    indent = "  " * min(row["depth"], _MAX_INDENT)
    return f"{indent}{marks}{plain(row['name']) or '(no name)'}"


def _line(
    row: Row,
    name: str,
    cells: "_Cells",
    total_nanos: int,
    colours: Mapping[str, int],
    paint: Paint,
) -> str:
    shade = {"error": (_RED, _BOLD), "warning": (_YELLOW,)}.get(row["status"], ())
    parts = [paint(fit(name, cells.name), *shade)]
    if cells.service:
        parts.append(paint(fit(plain(row["service"]), cells.service), _FAINT))
    time = took(row["duration_nanos"]) + (" >" if row.get("open") else "")
    parts.append(fit(time, _TOOK_CELLS, right=True))
    parts.append(_bar(row, cells.bar, max(total_nanos, 1), colours.get(row["service"], 0), paint))
    return _GAP.join(parts)


def _bar(row: Row, cells: int, total: int, colour: int, paint: Paint) -> str:
    def at(nanos: int) -> int:
        return min(cells, max(0, round(nanos / total * cells)))

    end_nanos = row["offset_nanos"] + row["duration_nanos"]
    first = min(at(row["offset_nanos"]), cells - 1)
    last = max(first + 1, at(end_nanos))
    bar = [_RAN] * (last - first)
    for since, until in row.get("critical", ()):
        begin = max(0, min(at(since), last - 1) - first)
        end = max(begin + 1, min(at(until), last) - first)
        bar[begin:end] = [_WAITED] * (end - begin)
    gap = row.get("gap") or {"before": 0, "after": 0}
    before = min(first, at(row["offset_nanos"] - gap["before"]))
    after = max(0, at(end_nanos + gap["after"]) - last)
    return (
        " " * before
        + paint(_BETWEEN * (first - before), _FAINT)
        + paint("".join(bar), colour)
        + paint(_BETWEEN * after, _FAINT)
    )


@dataclass(frozen=True, slots=True)
class _Cells:
    """How wide the columns are; a service column of 0 is left out."""

    name: int
    service: int
    bar: int

    @classmethod
    def of(cls, cells: int, names: Sequence[str], services: Sequence[str]) -> "_Cells":
        name = min(max((width(each) for each in names), default=0), _MAX_NAME, cells * 2 // 5)
        service = 0
        if len(services) > 1 and cells >= _WIDE:
            service = min(max(width(plain(each)) for each in services), _MAX_SERVICE)
        gaps = len(_GAP) * (3 if service else 2)
        return cls(name, service, cells - name - service - _TOOK_CELLS - gaps)


def to_ascii(line: str) -> str:
    """Write a line for a terminal that has no blocks."""
    for char, other in _ASCII.items():
        line = line.replace(char, other)
    return line
