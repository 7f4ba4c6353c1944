"""What a session stores: which keys and values there may be, and that they come out as they went in."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan_session.errors import RecordTooNewError
from linkspan_session.storage.errors import StorageLimitError
from linkspan_session.storage.values import (
    MAX_KEY_BYTES,
    MAX_NESTING,
    MAX_VALUE_BYTES,
    check_key,
    decode,
    encode,
    entry_bytes,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda each: st.lists(each, max_size=4) | st.dictionaries(TEXT, each, max_size=4),
)


def nested(levels: int) -> Any:
    value: Any = "core"
    for _ in range(levels):
        value = [value]
    return value


@given(JSON | st.binary())
def test_what_goes_in_comes_out_and_of_the_same_type(value: Any) -> None:
    read = decode(encode(value))
    assert read == value
    assert repr(read) == repr(value)  # True is not 1, 1.0 is not 1, b"" is not ""


def test_what_comes_out_is_a_copy() -> None:
    kept = {"notes": ["one"]}
    encoded = encode(kept)
    kept["notes"].append("two")
    first = decode(encoded)
    first["notes"].append("three")
    assert decode(encoded) == {"notes": ["one"]}


@pytest.mark.parametrize("value", [bytearray(b"\x00\xff"), memoryview(b"\x00\xff")])
def test_other_buffers_are_read_as_bytes(value: Any) -> None:
    assert decode(encode(value)) == b"\x00\xff"
    assert type(decode(encode(value))) is bytes


def test_a_tuple_is_read_as_a_list() -> None:
    assert decode(encode({"pair": (1, (2,))})) == {"pair": [1, [2]]}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (object(), "object"),
        ({1, 2}, "set"),
        ([b"bytes"], "bytes"),
        ({"deep": [1, {"er": 1j}]}, "complex"),
        ({1: "a"}, "int"),
        ([{None: "a"}], "NoneType"),
    ],
)
def test_what_is_not_json_is_refused_by_its_type(value: Any, named: str) -> None:
    with pytest.raises(TypeError, match=rf"\b{named}\b"):
        encode(value)


@pytest.mark.parametrize(
    "value", [math.nan, [math.inf], {"a": -math.inf}, "\ud800", {"\udfff": 1}, [10**5000]]
)
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"JSON has no|Unicode|digits"):
        encode(value)


def test_nesting_is_bounded_so_that_what_was_written_can_be_read() -> None:
    assert decode(encode(nested(MAX_NESTING))) == nested(MAX_NESTING)
    with pytest.raises(ValueError, match="nested"):
        encode(nested(MAX_NESTING + 1))
    within_itself: list[Any] = []
    within_itself.append(within_itself)
    with pytest.raises(ValueError, match="nested"):
        encode(within_itself)


@pytest.mark.parametrize("letter", ["k", "ü", "語"])
def test_a_key_is_measured_in_bytes(letter: str) -> None:
    most = MAX_KEY_BYTES // len(letter.encode())
    check_key(letter * most)
    with pytest.raises(StorageLimitError, match="512"):
        check_key(letter * (most + 1))


def test_a_key_is_text() -> None:
    with pytest.raises(StorageLimitError):
        check_key("")
    with pytest.raises(ValueError, match="Unicode"):
        check_key("\ud800")
    with pytest.raises(TypeError, match="bytes"):
        check_key(b"key")


def test_a_value_is_measured_in_bytes() -> None:
    assert decode(encode(bytes(MAX_VALUE_BYTES))) == bytes(MAX_VALUE_BYTES)
    with pytest.raises(StorageLimitError, match=str(MAX_VALUE_BYTES + 1)):
        encode(bytes(MAX_VALUE_BYTES + 1))
    longest = "ü" * (MAX_VALUE_BYTES // 2 - 1)  # and two quotation marks
    assert decode(encode(longest)) == longest
    with pytest.raises(StorageLimitError):
        encode(longest + "ü")


@pytest.mark.parametrize("encoded", [b"", b"\x00null", b"\x03null", b"null"])
def test_what_a_newer_version_wrote_is_not_guessed_at(encoded: bytes) -> None:
    with pytest.raises(RecordTooNewError):
        decode(encoded)


def test_how_values_are_written_stays() -> None:
    """Changing this makes what is on record unreadable."""
    assert encode({"a": [1, "ü", None]}) == b'\x01{"a":[1,"\xc3\xbc",null]}'
    assert encode(b"\x01") == b"\x02\x01"


def test_an_entry_takes_its_key_and_all_that_is_on_record() -> None:
    assert entry_bytes("ü", encode("a")) == 2 + 1 + 3
    assert entry_bytes("ü", None) == 0
