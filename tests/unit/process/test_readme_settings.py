"""The README's table of settings names those there are, and no others."""

import dataclasses
import re

import pytest
from tests.requirements import requirement
from tests.support.processes import REPOSITORY

from linkspan_session.config import SessionConfig
from linkspan_worker.config import WorkerConfig

README = (REPOSITORY / "README.md").read_text("utf-8")
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z-]*[a-z])")


def rows() -> list[list[str]]:
    """Return the cells of the table: what it is about, of session servers, of workers."""
    section = README.partition("\n## Settings\n")[2].partition("\n## ")[0]
    lines = [line.split("|")[1:4] for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in cells] for cells in lines[1:]]


def cell_of(cells: list[str], column: int) -> str:
    return cells[1] if cells[column] == "the same" else cells[column]


def elsewhere(column: int) -> set[str]:
    """Return what is named by the pages that rows with "and others" lead to."""
    pages = [
        page
        for cells in rows()
        if "and others" in cell_of(cells, column)
        for page in re.findall(r"\(([\w/-]+\.md)\)", cells[0])
    ]
    return {flag for page in pages for flag in FLAG.findall((REPOSITORY / page).read_text("utf-8"))}


@requirement("settings.documented")
@pytest.mark.parametrize(
    ("settings", "column"), [(SessionConfig, 1), (WorkerConfig, 2)], ids=["session", "worker"]
)
def test_the_readme_names_each_setting_and_no_other(settings: type, column: int) -> None:
    known = {field.name.replace("_", "-") for field in dataclasses.fields(settings)}
    named = {flag for cells in rows() for flag in FLAG.findall(cell_of(cells, column))}
    assert named - known == set()
    assert known - named - elsewhere(column) == set()


@requirement("settings.documented")
def test_the_way_to_production_leads_to_pages_that_are_there() -> None:
    section = README.partition("\n## In production\n")[2].partition("\n## ")[0]
    steps = re.findall(r"^\| \d \|.*\(([\w/.-]+)\) \|$", section, re.MULTILINE)
    assert [step.removeprefix("docs/").removesuffix(".md") for step in steps] == [
        "auth",
        "between-services",
        "browsers-and-proxies",
        "limits",
        "audit",
        "deploy/README",
    ]
    assert all((REPOSITORY / step).is_file() for step in steps)
