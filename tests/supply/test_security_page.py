"""What SECURITY.md names as proof exists."""

import re

from tests.requirements import REQUIREMENTS
from tests.support.processes import REPOSITORY

PAGE = (REPOSITORY / "SECURITY.md").read_text("utf-8")


def test_each_test_that_the_threat_model_names_is_there() -> None:
    names = re.findall(r"`(tests/[\w/.]*)`", PAGE)
    assert len(names) >= 10
    assert [name for name in names if not (REPOSITORY / name).exists()] == []


def test_each_claim_that_the_threat_model_names_is_one() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "shown by" not in line]
    named = [
        each
        for row in rows
        for each in re.findall(r"`([a-z]+\.[a-z*-]+)`", "|".join(row.split("|")[5:6]))
    ]
    assert len(named) >= 8
    for each in named:
        assert any(re.fullmatch(each.replace("*", ".*"), known) for known in REQUIREMENTS), each
