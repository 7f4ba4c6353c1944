"""The traceparent grammar of W3C Trace Context Level 2, as properties and as its special cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.requirements import requirement

from linkspan_propagation import TraceParent, format_traceparent, parse_traceparent

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
VALID = f"00-{TRACE_ID}-{SPAN_ID}-01"

trace_ids = st.integers(1, (1 << 128) - 1)
span_ids = st.integers(1, (1 << 64) - 1)
flags = st.integers(0, 255)
hex_digits = st.sampled_from("0123456789abcdef")


@requirement("propagation.traceparent")
@given(trace_ids, span_ids, flags)
def test_what_is_formatted_parses_to_the_same(trace_id: int, span_id: int, bits: int) -> None:
    assert parse_traceparent(format_traceparent(trace_id, span_id, bits)) == TraceParent(
        trace_id, span_id, bits & 0x03
    )


@given(trace_ids, span_ids, flags)
def test_what_is_formatted_is_55_ascii_characters(trace_id: int, span_id: int, bits: int) -> None:
    text = format_traceparent(trace_id, span_id, bits)
    assert len(text) == 55
    assert text.isascii()
    assert text == text.lower()


@requirement("propagation.traceparent")
@given(st.text())
def test_no_text_raises(text: str) -> None:
    parse_traceparent(text)


@requirement("propagation.traceparent")
@given(st.text(alphabet="0123456789abcdefABCDEF-. \t\n", max_size=70))
def test_what_is_accepted_has_ids_and_known_flags(text: str) -> None:
    parent = parse_traceparent(text)
    if parent is not None:
        assert 0 < parent.trace_id < 1 << 128
        assert 0 < parent.span_id < 1 << 64
        assert 0 <= parent.flags <= 0x03


@requirement("propagation.traceparent")
@given(st.integers(0, 54), st.characters())
def test_one_wrong_character_is_no_parent_or_another_valid_value(at: int, other: str) -> None:
    text = VALID[:at] + other + VALID[at + 1 :]
    parent = parse_traceparent(text)
    allowed = "0123456789abcdef" if VALID[at] != "-" else "-"
    if other not in allowed:
        # Only the blanks around a value may be there: one that replaces a digit shortens it.
        assert parent is None


@requirement("propagation.versions")
@given(st.integers(1, 254), st.text(alphabet="0123456789abcdef-XYZ", max_size=20))
def test_a_later_version_is_read_by_its_first_four_fields(version: int, rest: str) -> None:
    text = f"{version:02x}-{TRACE_ID}-{SPAN_ID}-01-{rest}"
    assert parse_traceparent(text) == TraceParent(int(TRACE_ID, 16), int(SPAN_ID, 16), 1)


@requirement("propagation.traceparent")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"ff-{TRACE_ID}-{SPAN_ID}-01", "version ff"),
        (f"00-{'0' * 32}-{SPAN_ID}-01", "trace id of zeros"),
        (f"00-{TRACE_ID}-{'0' * 16}-01", "span id of zeros"),
        (VALID.upper(), "upper case"),
        (f"00-{TRACE_ID.upper()}-{SPAN_ID}-01", "upper case trace id"),
        (f"00-{TRACE_ID}-{SPAN_ID.upper()}-01", "upper case span id"),
        (f"0A-{TRACE_ID}-{SPAN_ID}-01", "upper case version"),
        (f"00-{TRACE_ID}-{SPAN_ID}-0A", "upper case flags"),
        (f"{VALID}-", "version 00 with a tail"),
        (f"{VALID}-what-the-future-holds", "version 00 with a field more"),
        (f"{VALID}0", "version 00 with a longer flags field"),
        (f"01-{TRACE_ID}-{SPAN_ID}-01.x", "later version without a dash"),
        (VALID[:-1], "too short"),
        (VALID[:-3], "no flags"),
        (f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01", "short trace id"),
        (f"{VALID},{VALID}", "two values in one field"),
        (f"00 {TRACE_ID}-{SPAN_ID}-01", "blank for a dash"),
        (f"00-{TRACE_ID}-{SPAN_ID}-01\n", "line feed"),
        (f"00-{TRACE_ID[:-1]}\uff11-{SPAN_ID}-01", "a digit that is not ASCII"),
        ("", "empty"),
    ],
)
def test_an_invalid_value_is_no_parent(text: str, why: str) -> None:
    assert parse_traceparent(text) is None, why


def test_blanks_and_tabs_around_the_value_do_not_count() -> None:
    assert parse_traceparent(f" \t{VALID}\t ") == parse_traceparent(VALID) is not None


@requirement("propagation.flags")
def test_the_random_flag_is_kept_and_unknown_flags_are_not() -> None:
    parent = parse_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-ff")
    assert parent is not None
    assert parent.flags == 0x03


@pytest.mark.parametrize(
    ("trace_id", "span_id"), [(0, 1), (1, 0), (1 << 128, 1), (1, 1 << 64), (-1, 1)]
)
def test_ids_that_have_no_place_are_refused(trace_id: int, span_id: int) -> None:
    with pytest.raises(ValueError, match="neither is zero"):
        format_traceparent(trace_id, span_id, 1)
