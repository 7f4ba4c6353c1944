"""Bar charts as SVG, by hand: horizontal bars, each with what its figure lay between. Pure.

Colours follow the reader's scheme, light or dark, and the ground is left as it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

_WIDTH: Final = 760
_LABEL_WIDTH: Final = 230
_VALUE_WIDTH: Final = 80
_TOP: Final = 44
_ROW: Final = 26
_BAR: Final = 16
_BOTTOM: Final = 26
_TICKS: Final = 4

_STYLE: Final = """\
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 14px }
.faint { fill: #6e7781; font-size: 11px }
.grid { stroke: #d0d7de; stroke-width: 1 }
.bar { fill: #8c96a0 }
.ours { fill: #2f6fd0 }
.spread { stroke: #24292f; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .faint { fill: #9198a1 }
  .grid { stroke: #3d444d }
  .bar { fill: #6e7681 }
  .ours { fill: #58a0ff }
  .spread { stroke: #e6edf3 }
}"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure.

    Attributes:
        label: What it is of.
        value: The median.
        least: The least of the rounds.
        greatest: The greatest.
        shown: The value in writing.
        ours: Whether it is Linkspan's, which is set off.
    """

    label: str
    value: float
    least: float
    greatest: float
    shown: str
    ours: bool


def step_of(greatest: float) -> float:
    """Return a round distance between the ticks of an axis: 1, 2 or 5 times a power of ten."""
    if greatest <= 0:
        return 1.0
    rough = greatest / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(each * power for each in (1, 2, 5, 10) if each * power >= rough)


def bar_chart(title: str, bars: Sequence[Bar]) -> str:
    """Draw bars from zero, one below the other.

    Args:
        title: What is shown, with its unit.
        bars: In the order of the chart; at least one.
    """
    greatest = max(bar.greatest for bar in bars)
    step = step_of(greatest)
    ticks = math.ceil(greatest / step)
    scale = (_WIDTH - _LABEL_WIDTH - _VALUE_WIDTH) / (ticks * step)
    height = _TOP + _ROW * len(bars) + _BOTTOM
    foot = height - _BOTTOM
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img" aria-label="{_quoted(title)}">'
        ),
        f"<style>{_STYLE}</style>",
        _text("title", 0, 18, title),
    ]
    for number in range(ticks + 1):
        x = _LABEL_WIDTH + number * step * scale
        parts += [
            f'<line class="grid" x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{foot}"/>',
            _text("faint", x, foot + 16, f"{number * step:,.10g}", anchor="middle"),
        ]
    for number, bar in enumerate(bars):
        parts += _drawn(bar, _TOP + number * _ROW, scale)
    return "\n".join([*parts, "</svg>", ""])


def _drawn(bar: Bar, top: float, scale: float) -> list[str]:
    middle = top + _BAR / 2
    text = middle + 4.5
    least, value, greatest = (
        _LABEL_WIDTH + each * scale for each in (bar.least, bar.value, bar.greatest)
    )
    kind = "bar ours" if bar.ours else "bar"
    drawn = [
        _text("label", _LABEL_WIDTH - 8, text, bar.label, anchor="end"),
        f'<path class="{kind}" d="M{_LABEL_WIDTH} {top}H{value:.1f}v{_BAR}H{_LABEL_WIDTH}z"/>',
        _text("value", greatest + 8, text, bar.shown),
    ]
    if bar.least < bar.greatest:
        drawn.append(
            f'<path class="spread" d="M{least:.1f} {middle}H{greatest:.1f}'
            f'M{least:.1f} {middle - 4}v8M{greatest:.1f} {middle - 4}v8"/>'
        )
    return drawn


def _text(kind: str, x: float, y: float, text: str, *, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(text)}</text>'


def _quoted(text: str) -> str:
    return escape(text, {'"': "&quot;"})
