"""Answers and event streams are read to their end and not further, however they are cut."""

import pytest
from bench.compare.framing import Events, FramingError, Head, events, read_head, session_in, unchunk
from hypothesis import given
from hypothesis import strategies as st

LONG = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nCONTENT-LENGTH: 12\r\n\r\n"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def test_a_head_says_status_kind_and_length() -> None:
    assert read_head(LONG) == Head(200, b"application/json", 12)
    assert read_head(CHUNKED) == Head(200, b"text/event-stream", None)


def test_an_answer_without_content_has_no_body_whatever_it_says() -> None:
    assert read_head(b"HTTP/1.1 204 No Content\r\n\r\n").length == 0


def test_an_answer_that_does_not_say_where_it_ends_is_refused() -> None:
    with pytest.raises(FramingError):
        read_head(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    with pytest.raises(FramingError):
        read_head(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n")


def test_a_session_id_keeps_its_case() -> None:
    assert session_in(b"HTTP/1.1 200 OK\r\nMCP-Session-Id: aB-_9\r\n\r\n") == b"aB-_9"
    assert session_in(LONG) == b""


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.data())
def test_chunks_are_joined_once_the_last_one_is_there(
    pieces: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(b"%x;a=b\r\n%s\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"
    assert unchunk(b"head" + whole, 4) == b"".join(pieces)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert unchunk(whole[:cut], 0) is None


def test_bytes_behind_the_last_chunk_are_refused() -> None:
    with pytest.raises(FramingError):
        unchunk(b"1\r\na\r\n0\r\n\r\nHTTP/1.1", 0)
    with pytest.raises(FramingError):
        unchunk(b"no size\r\n", 0)


def test_trailers_belong_to_the_answer() -> None:
    assert unchunk(b"1\r\na\r\n0\r\nServer-Timing: x\r\n\r\n", 0) == b"a"


STREAM = (
    b": hello\r\n\r\nid: 1\r\nretry: 5\r\ndata: \r\n\r\n"
    b"event: message\r\ndata: one\r\ndata:two\r\n\r\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_events_come_out_the_same_however_a_stream_is_cut(cuts: list[int]) -> None:
    reader, found, start = Events(), list[bytes](), 0
    for cut in [*sorted(cuts), len(STREAM)]:
        found += reader.feed(STREAM[start:cut])
        start = cut
    assert found == [b"one\ntwo"]


def test_an_event_that_is_not_complete_is_none() -> None:
    assert events(b"data: one\n\ndata: two\n") == [b"one"]
