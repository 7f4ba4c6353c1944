"""The table of requirements and the tests agree, in both directions, and so does the page."""

import pytest
from tests.render_requirements import PAGE, proofs, render
from tests.requirements import REQUIREMENTS, requirement


def test_every_requirement_is_proven_by_a_test() -> None:
    assert set(REQUIREMENTS) - set(proofs()) == set()


def test_every_id_that_a_test_names_is_a_requirement() -> None:
    assert set(proofs()) - set(REQUIREMENTS) == set()


def test_a_mark_of_no_requirement_is_refused_at_once() -> None:
    with pytest.raises(KeyError, match=r"no\.such is not a requirement"):
        requirement("no.such")


def test_the_page_is_the_table() -> None:
    command = "python -m tests.render_requirements"
    assert PAGE.read_text(encoding="utf-8") == render(proofs()), f"run: {command}"


def test_every_page_of_ours_that_is_a_source_exists() -> None:
    sources = {each.source for each in REQUIREMENTS.values()}
    ours = [source for source in sources if not source.startswith("https://")]
    assert [source for source in ours if not (PAGE.parents[1] / source).is_file()] == []
