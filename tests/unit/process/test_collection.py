"""Garbage collection, put off while a process starts."""

import gc
from collections.abc import Iterator

import pytest

from linkspan_process.collection import put_off_collection


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    """Leave the collector as it was found."""
    gc.collect()
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    gc.enable()


def test_nothing_is_collected_within_the_block_and_all_goes_on_after_it() -> None:
    with put_off_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_the_block_made_is_never_looked_at_again() -> None:
    frozen = gc.get_freeze_count()
    with put_off_collection():
        made = [[number] for number in range(1000)]
    assert gc.get_freeze_count() >= frozen + len(made)
    looked_at = {id(each) for each in gc.get_objects()}
    assert not looked_at & {id(each) for each in made}


def test_what_comes_after_the_block_is_collected_as_ever() -> None:
    with put_off_collection():
        pass
    made = [[number] for number in range(1000)]
    looked_at = {id(each) for each in gc.get_objects()}
    assert looked_at >= {id(each) for each in made}


def test_what_comes_after_the_block_is_looked_through_seldom_and_not_never() -> None:
    passes: list[str] = []

    def note(phase: str, _: object) -> None:
        passes.append(phase)

    with put_off_collection():
        pass
    gc.callbacks.append(note)
    try:
        few = [[number] for number in range(5_000)]
        assert passes == []
        many = [[number] for number in range(50_000)]
        assert 1 <= passes.count("start") <= 3
    finally:
        gc.callbacks.remove(note)
    assert len(few) + len(many) == 55_000


def test_a_block_that_fails_leaves_collection_on_and_its_failure_is_told() -> None:
    def fail() -> None:
        with put_off_collection():
            raise RuntimeError("it does not start")

    with pytest.raises(RuntimeError, match="it does not start"):
        fail()
    assert gc.isenabled()
