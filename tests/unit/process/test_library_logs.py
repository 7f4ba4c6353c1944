"""What libraries log: how much, and what is shown of the URIs in it."""

import logging
from collections.abc import Generator

import pytest

from linkspan_process.library_logs import quiet_libraries, shown_text

SDK = "mcp.server.mcpserver.server"


@pytest.fixture
def sdk() -> Generator[logging.Logger]:
    """Give the loggers of the SDK, as they are in a process that begins."""
    root, logger = logging.getLogger("mcp"), logging.getLogger(SDK)
    before = root.level
    root.setLevel(logging.NOTSET)
    yield logger
    root.setLevel(before)


@pytest.mark.parametrize(
    ("level", "theirs"),
    [
        (logging.DEBUG, None),
        (logging.INFO, logging.WARNING),
        (logging.WARNING, logging.WARNING),
        (logging.ERROR, logging.ERROR),
    ],
)
def test_libraries_say_what_is_wrong_unless_everything_is_asked_for(
    sdk: logging.Logger, level: int, theirs: int | None
) -> None:
    quiet_libraries(level)
    expected = logging.getLogger().getEffectiveLevel() if theirs is None else theirs
    assert sdk.getEffectiveLevel() == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Resource 'note://a/b?t=s' failed: 'x'", "Resource 'note://a/b' failed: 'x'"),
        ('Resource "note://a/b#s" failed', 'Resource "note://a/b" failed'),
        ("Unknown resource: https://u:s@host/a?t=s#s.", "Unknown resource: https://host/a."),
        ("two: (a://b?s), b://c?s\nand c://d?s", "two: (a://b), b://c\nand c://d"),
        ("x" * 40 + "://u:s@host", "x" * 40 + "://host"),
        ("no URI: a?b#c u:p@h", "no URI: a?b#c u:p@h"),
        ("note://a/b", "note://a/b"),
        ("", ""),
    ],
)
def test_of_a_uri_is_shown_what_names_it(text: str, shown: str) -> None:
    assert shown_text(SDK, text) == shown
    assert shown_text("mcp", text) == shown


@pytest.mark.parametrize("logger", ["linkspan_worker.server", "mcpserver", "shop", "root", ""])
def test_what_others_log_is_theirs(logger: str) -> None:
    assert shown_text(logger, "see a://b?c") == "see a://b?c"


def test_a_long_text_takes_no_longer_than_its_length_asks() -> None:
    assert shown_text(SDK, "a" * 1_000_000).startswith("aaa")
