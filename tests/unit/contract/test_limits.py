"""The grammar of a session id, and limits that fit into one another."""

import pytest

from linkspan_contract import limits


@pytest.mark.parametrize("value", ["a", "!", "~", "a" * 128, "".join(map(chr, range(0x21, 0x7F)))])
def test_visible_ascii_up_to_128_characters_is_a_session_id(value: str) -> None:
    assert limits.is_session_id(value)


@pytest.mark.parametrize(
    "value", ["", "a" * 129, " ", "a b", "a\n", "\x7f", "\t", "é", "\x00", "a\r\nb", "\u2028"]
)
def test_anything_else_is_not(value: str) -> None:
    assert not limits.is_session_id(value)


def test_the_largest_message_fits_into_one_grpc_message() -> None:
    assert limits.MAX_MESSAGE_BYTES < limits.MAX_ANSWER_BYTES < limits.MAX_GRPC_MESSAGE_BYTES
    assert limits.DEFAULT_PAGE_SIZE <= limits.MAX_PAGE_SIZE
