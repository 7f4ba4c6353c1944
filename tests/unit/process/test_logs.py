"""Log lines for people: whatever callers said in them, one event is one line, and only text."""

import io
import logging
import sys

import pytest

from linkspan_process.logs import set_up_logs, written_out

FORGED = "x\n2026-01-01 00:00:00,000 INFO    linkspan trace=- forged\r\x1b[2J\x9b\x00\u2028\u202e"


def logged(monkeypatch: pytest.MonkeyPatch, form: str, error: Exception | None) -> list[str]:
    """Log a line, and return the lines that come of it."""
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        set_up_logs("info", form)
        logging.getLogger("tests").info("said %s", FORGED, exc_info=error, stack_info=True)
    finally:
        root.handlers[:], root.level = before
    return stream.getvalue().removesuffix("\n").split("\n")


def raised() -> Exception:
    """Return an exception that was raised."""
    try:
        return ValueError(int(FORGED))
    except ValueError as error:
        return error


@pytest.mark.parametrize("error", [None, raised()], ids=["plain", "with an exception"])
def test_no_line_begins_or_colours_with_what_a_caller_said(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    first, *others = logged(monkeypatch, "text", error)
    assert "said x\\n2026-01-01" in first
    assert all(line.isprintable() for line in (first, *others))
    assert others
    assert all(line.startswith("  ") for line in others)
    assert ("ValueError: invalid literal" in "\n".join(others)) == (error is not None)


def test_json_is_one_line_of_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = logged(monkeypatch, "json", raised())
    assert line.isascii()
    assert line.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a b\u00e4\u4e2d", "a b\u00e4\u4e2d"), ("\t\n\ud800", "\\t\\n\\ud800"), ("", "")],
)
def test_what_can_be_printed_stays_as_it_is(text: str, shown: str) -> None:
    assert written_out(text) == shown
