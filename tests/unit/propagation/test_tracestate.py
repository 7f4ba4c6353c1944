"""The tracestate grammar of W3C Trace Context Level 2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.requirements import requirement

from linkspan_propagation.tracestate import (
    format_tracestate,
    parse_tracestate,
    shorten_tracestate,
)

_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")

keys = st.from_regex(r"[a-z0-9][a-z0-9_\-*/@]{0,20}", fullmatch=True)
# Blanks at the ends of a member are not part of it.
values = st.text(alphabet=_PRINTABLE, min_size=1, max_size=20).filter(
    lambda value: value == value.strip(" ")
)


@st.composite
def _members(draw: st.DrawFn) -> list[tuple[str, str]]:
    return list(draw(st.dictionaries(keys, values, max_size=32)).items())


members = _members()


@requirement("propagation.tracestate")
@given(members)
def test_what_is_formatted_parses_to_the_same(wanted: list[tuple[str, str]]) -> None:
    assert list(parse_tracestate([format_tracestate(wanted)])) == wanted


@requirement("propagation.tracestate")
@given(members, st.integers(0, 32))
def test_fields_split_at_a_comma_are_one_list(wanted: list[tuple[str, str]], cut: int) -> None:
    halves = [format_tracestate(wanted[:cut]), format_tracestate(wanted[cut:])]
    assert list(parse_tracestate(halves)) == wanted


@given(st.lists(st.text()))
def test_no_text_raises(texts: list[str]) -> None:
    assert len(parse_tracestate(texts)) <= 32


@requirement("propagation.tracestate")
@given(members, st.integers(-10, 2000))
def test_shortening_keeps_a_prefix_that_fits(wanted: list[tuple[str, str]], room: int) -> None:
    text = shorten_tracestate(wanted, room)
    kept = parse_tracestate([text])
    assert len(text) <= max(0, room)
    assert list(kept) == wanted[: len(kept)]
    if len(kept) < len(wanted):
        assert len(format_tracestate(wanted[: len(kept) + 1])) > room


@requirement("propagation.tracestate")
def test_32_members_are_kept_and_33_are_not() -> None:
    many = [(f"k{number}", "v") for number in range(33)]
    assert len(parse_tracestate([format_tracestate(many[:32])])) == 32
    assert parse_tracestate([format_tracestate(many)]) == ()


def test_empty_members_and_blanks_do_not_count() -> None:
    assert parse_tracestate([" a=1 ,,\tb=2", "", " "]) == (("a", "1"), ("b", "2"))


@requirement("propagation.tracestate")
@pytest.mark.parametrize(
    "broken",
    [
        "novalue",
        "=v",
        "A=1",
        "Aa=1",
        "-a=1",
        "_a=1",
        "a=",
        "a=b=c",
        "a=é",
        "é=1",
        "a b=1",
        "a=\x7f",
        f"{'k' * 257}=1",
        f"k={'v' * 257}",
    ],
)
def test_one_broken_member_costs_the_whole_list(broken: str) -> None:
    assert parse_tracestate(["a=1", broken]) == ()


@requirement("propagation.tracestate")
def test_a_key_that_comes_twice_costs_the_whole_list() -> None:
    assert parse_tracestate(["a=1,b=2", "a=3"]) == ()


@requirement("propagation.tracestate")
@pytest.mark.parametrize("key", ["1a", "a@b@c", f"k{'x' * 255}", "tenant@vendor", "a_-*/1"])
def test_the_keys_of_level_2_are_accepted(key: str) -> None:
    assert parse_tracestate([f"{key}=v"]) == ((key, "v"),)
