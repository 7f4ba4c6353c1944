"""docs/limits.md names settings and tests that there are, and all settings that are limits."""

import dataclasses
import re
from pathlib import Path
from typing import Final

from linkspan_session.config import SessionConfig
from linkspan_worker.config import WorkerConfig
from linkspan_worker.limit_config import LimitConfig

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")


def flags_of(*settings: type) -> set[str]:
    """Return the flags of settings."""
    return {
        "--" + field.name.replace("_", "-")
        for each in settings
        for field in dataclasses.fields(each)
    }


def test_each_setting_that_is_named_is_one() -> None:
    named = set(re.findall(r"`(--[a-z-]+)", PAGE))
    assert named
    assert named <= flags_of(SessionConfig, WorkerConfig)


def test_each_limit_that_can_be_set_is_named() -> None:
    limits = {flag for flag in flags_of(SessionConfig) if flag.startswith("--max-")}
    missing = [flag for flag in limits | flags_of(LimitConfig) if f"`{flag}" not in PAGE]
    assert missing == []


def test_each_test_that_is_named_is_there() -> None:
    named = re.findall(r"\| (tests/\S+) \|", PAGE)
    assert len(named) > 30
    assert [each for each in named if not (ROOT / each).is_file()] == []
