"""Figures of several rounds, written as a reader wants them: the median, and between what it lay."""

import math
import statistics
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

Write = Callable[[float], str]

_PAGE_COLUMNS: Final = 118


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share (0 to 1) of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float], write: Write) -> str:
    """Write the median, and the least and the greatest of the values in brackets."""
    middle = write(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({write(min(values))} to {write(max(values))})"


def number(value: float) -> str:
    """Write with three significant digits, thousands set apart."""
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def millis(seconds: float) -> str:
    """Write a duration in milliseconds."""
    return number(seconds * 1000)


def mebibytes(count: float) -> str:
    """Write an amount of memory in MiB."""
    return number(count / 2**20)


def filled(text: str) -> str:
    """Break a paragraph into the lines of a page."""
    words = " ".join(text.split())
    return textwrap.fill(words, _PAGE_COLUMNS, break_long_words=False, break_on_hyphens=False)


@dataclass(slots=True)
class Section:
    """A part of the report.

    Attributes:
        title: Its heading.
        text: What was done, in Markdown.
        columns: The heads of the columns.
        rows: The cells.
        notes: What is to be said below the table; one paragraph each.
    """

    title: str
    text: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    notes: list[str] = field(default_factory=list[str])

    def markdown(self) -> str:
        """Write the section."""
        head = f"| {' | '.join(self.columns)} |"
        rule = "|" + "---|" * len(self.columns)
        body = [f"| {' | '.join(row)} |" for row in self.rows]
        table = "\n".join([head, rule, *body])
        notes = [filled(note) for note in self.notes]
        return "\n\n".join([f"## {self.title}", filled(self.text), table, *notes])
