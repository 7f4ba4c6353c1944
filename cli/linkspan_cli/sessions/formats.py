"""Durations, sizes and strangers' text, as people read them in a terminal. Pure.

What a client says of itself is text that nobody has looked at: written as it is, it could move the
cursor, colour the screen or hide what comes after it.
"""

import unicodedata
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))
_SIZES: Final = ("kB", "MB", "GB", "TB", "PB", "EB")

_STEP: Final = 1000
_DECIMALS_BELOW: Final = 9.95
"""What would be written with one digit has a decimal, too."""

ELLIPSIS: Final = "…"


def duration(seconds: float) -> str:
    """Write a duration in its largest whole unit, rounded down, such as `3 min`; at least `0 s`."""
    whole = max(0, int(seconds))
    for unit, length in _UNITS:
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"


def size(count: int) -> str:
    """Write a number of bytes in decimal units, to two digits at least, such as `12 kB`."""
    if count < _STEP:
        return f"{count} B"
    value = float(count)
    for unit in _SIZES:
        value /= _STEP
        if value < _DECIMALS_BELOW:
            return f"{value:.1f} {unit}"
        if round(value) < _STEP:
            return f"{value:.0f} {unit}"
    return f"{value:.0f} {_SIZES[-1]}"


def number(count: int) -> str:
    """Write a count with a comma at each thousand."""
    return f"{count:,}"


def plain(text: str) -> str:
    """Replace what is not to be seen or takes no blank's place, such as control characters."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def width(text: str) -> int:
    """Count the cells that plain text takes in a terminal.

    Source: https://www.unicode.org/reports/tr11/
    """
    return sum(_cells(char) for char in text)


def fit(text: str, cells: int, *, right: bool = False) -> str:
    """Make plain text take just so many cells: filled with blanks, or cut with an ellipsis.

    Args:
        text: The text.
        cells: How many cells; at least 1.
        right: Whether the blanks go before it.
    """
    if width(text) > cells:
        kept, room = "", cells - 1
        for char in text:
            room -= _cells(char)
            if room < 0:
                break
            kept += char
        text = kept + ELLIPSIS
    blanks = " " * (cells - width(text))
    return blanks + text if right else text + blanks


def _cells(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
