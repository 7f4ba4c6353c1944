"""A line that says how far a command is, on a terminal and nowhere else.

It is written over itself with carriage returns, so it has to be cleared before anything else is
written to the same terminal. Without a terminal nothing is ever written.
"""

import os
import time
from collections.abc import Callable
from typing import Final, TextIO

from linkspan_cli.sessions.formats import number, width

_EVERY_SECONDS: Final = 0.1
"""How often the line is written at most: it must cost nothing."""

_NARROW: Final = 80


class Progress:
    """The line, and how fast it goes."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to measure; nothing is written yet.

        Args:
            stream: Where the line goes, if it is a terminal.
            clock: Tells the time in seconds; never goes back.
        """
        self._stream = stream
        self._clock = clock
        self._shown = stream.isatty()
        self._began_at = clock()
        self._written_at: float | None = None
        self._cells = 0

    def show(self, text: str, *, done: int) -> None:
        """Write the line anew, with the rate behind it, unless it was written just now.

        Args:
            text: How far things are.
            done: How many are done since the beginning, for the rate.
        """
        if not self._shown:
            return
        now = self._clock()
        if self._written_at is not None and now - self._written_at < _EVERY_SECONDS:
            return
        self._written_at = now
        line = f"{text}, {rate(done, now - self._began_at)}"[: _columns(self._stream) - 1]
        self._write(line + " " * (self._cells - width(line)))
        self._cells = width(line)

    def clear(self) -> None:
        """Take the line away; it comes back with the next `show`."""
        if self._cells:
            self._write(" " * self._cells + "\r")
            self._cells = 0
            self._written_at = None

    def _write(self, text: str) -> None:
        self._stream.write(f"\r{text}")
        self._stream.flush()


def rate(done: int, seconds: float) -> str:
    """Write how many are done a second, such as `1,200/s`; slow ones with a decimal."""
    a_second = done / seconds if seconds > 0 else 0.0
    return f"{number(round(a_second))}/s" if a_second >= 10 else f"{a_second:.1f}/s"  # noqa: PLR2004


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or _NARROW
    except OSError:
        return _NARROW
