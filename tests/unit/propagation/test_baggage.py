"""The baggage grammar of W3C Baggage."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.requirements import requirement

from linkspan_propagation.baggage import MAX_BYTES, format_baggage, join_baggage, parse_baggage

tokens = st.text(
    alphabet=string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=20
)
values = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)


@requirement("propagation.baggage")
@given(st.dictionaries(tokens, values, max_size=10))
def test_what_is_formatted_parses_to_the_same(wanted: dict[str, str]) -> None:
    assert parse_baggage([",".join(format_baggage(wanted))]) == wanted


@requirement("propagation.baggage")
@given(st.dictionaries(tokens, values, max_size=10))
def test_what_is_formatted_is_printable_ascii(wanted: dict[str, str]) -> None:
    text = ",".join(format_baggage(wanted))
    assert all(0x21 <= ord(character) <= 0x7E for character in text)


@given(st.lists(st.text()))
def test_no_text_raises(texts: list[str]) -> None:
    assert len(parse_baggage(texts)) <= 64


@given(st.lists(st.tuples(tokens, tokens), max_size=20), st.integers(0, 300))
def test_joining_keeps_a_prefix_that_fits(pairs: list[tuple[str, str]], room: int) -> None:
    whole = [f"{key}={value}" for key, value in pairs]
    text = join_baggage(whole, [], room)
    assert len(text) <= room
    assert text.split(",") == whole[: text.count(",") + 1] or text == ""


@requirement("propagation.baggage")
def test_a_broken_member_is_left_out_and_the_others_stay() -> None:
    assert parse_baggage(['a=1,b,=2,c d=3,e="4",f=5']) == {"a": "1", "f": "5"}


@requirement("propagation.baggage")
def test_several_fields_are_one_list_in_which_the_last_value_counts() -> None:
    assert parse_baggage(["a=1,b=2", "a=3"]) == {"a": "3", "b": "2"}


def test_blanks_around_key_and_value_do_not_count() -> None:
    assert parse_baggage([" key2\t= value2 ; property "]) == {"key2": "value2"}


def test_properties_are_read_over() -> None:
    assert parse_baggage(["a=1;ttl=5;secure,b=2"]) == {"a": "1", "b": "2"}


@requirement("propagation.baggage")
def test_values_are_percent_decoded_and_a_plus_is_a_plus() -> None:
    assert parse_baggage(["a=DF%2028,b=1+1,c=%C3%A9"]) == {"a": "DF 28", "b": "1+1", "c": "é"}


def test_a_plus_and_a_blank_are_written_so_that_every_reader_reads_them() -> None:
    assert format_baggage({"a": "1 + 1"}) == ["a=1%20%2B%201"]


def test_a_value_that_has_no_utf_8_is_written_all_the_same() -> None:
    assert format_baggage({"a": "x\ud800y"}) == ["a=x?y"]


def test_a_key_that_cannot_be_written_is_left_out() -> None:
    assert format_baggage({"a b": "1", "c": "2", "": "3"}) == ["c=2"]


@requirement("propagation.baggage")
def test_what_lies_beyond_the_limit_of_bytes_is_left_out() -> None:
    long = "x" * (MAX_BYTES - 9)
    assert parse_baggage([f"a={long},b=1,c=2"]).keys() == {"a", "b"}


@pytest.mark.parametrize("own", ["a=9", "a = 9"])
def test_own_members_win_over_others_of_the_same_key(own: str) -> None:
    assert join_baggage([own], ["a=1", " a=2", "b=3", ""], 100) == f"{own},b=3"
