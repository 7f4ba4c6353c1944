"""Reading HTTP headers: lookups, what `Accept` allows, what `Content-Type` declares."""

import sys

import pytest

from linkspan_contract.limits import MAX_MESSAGE_BYTES
from linkspan_worker.admission import RefusedError, check_post_headers
from linkspan_worker.headers import (
    Accepted,
    Headers,
    SteadyHeaders,
    accepted_by,
    declared_bytes,
    is_json,
)


def kinds(accepted: Accepted) -> tuple[bool, bool]:
    return accepted.json, accepted.event_stream


BOTH = Accepted(json=True, event_stream=True)
JSON_ONLY = Accepted(json=True, event_stream=False)
STREAM_ONLY = Accepted(json=False, event_stream=True)
NEITHER = Accepted(json=False, event_stream=False)


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers([(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs])


def test_names_are_read_in_any_case_and_values_are_trimmed() -> None:
    found = headers(("MCP-Session-Id", " \tabc \t"), ("X-B", "1"), ("x-b", "2"), ("é", "ü"))
    assert found.get("mcp-session-id") == "abc"
    assert found.all("x-b") == ["1", "2"]
    assert found.get("x-b") == "2"
    assert found.get("missing") is None
    assert found.all("missing") == []
    assert found.steady.names() == ("mcp-session-id", "x-b", "é")
    assert found.pairs()[0] == ("mcp-session-id", "abc")


def test_white_space_beyond_blank_and_tab_is_part_of_a_value() -> None:
    assert headers(("a", "\xa0b\xa0")).get("a") == "\xa0b\xa0"


# --- what comes again with the next request ------------------------------------------------------

FIRST = [(b"host", b"a"), (b"content-length", b"7"), (b"accept", b"*/*"), (b"traceparent", b"00-1")]


def raw_with(**changed: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, changed.get(name.decode().replace("-", "_"), value)) for name, value in FIRST]


def test_what_tells_of_one_request_is_read_anew_and_the_rest_is_not() -> None:
    first = Headers(FIRST)
    second = Headers(raw_with(content_length=b"1234", traceparent=b"00-2"), first.steady)
    assert second.steady is first.steady
    assert (second.get("content-length"), second.all("traceparent")) == ("1234", ["00-2"])
    assert (second.get("host"), second.all("accept")) == ("a", ["*/*"])
    assert second.pairs() == [
        ("host", "a"),
        ("content-length", "1234"),
        ("accept", "*/*"),
        ("traceparent", "00-2"),
    ]
    assert (first.get("content-length"), first.get("traceparent")) == ("7", "00-1")


@pytest.mark.parametrize(
    "raw",
    [
        raw_with(host=b"b"),
        raw_with(accept=b"*/* "),
        FIRST[:-1],
        FIRST[1:],
        [*FIRST, (b"x-more", b"")],
        [*FIRST, (b"baggage", b"a=1")],
        [*FIRST, (b"traceparent", b"00-1")],
        FIRST[::-1],
    ],
)
def test_headers_that_differ_in_anything_else_are_read_anew(raw: list[tuple[bytes, bytes]]) -> None:
    before = Headers(FIRST).steady
    again = Headers(raw, before)
    assert again.steady is not before
    alone = Headers(raw)
    assert again.pairs() == alone.pairs()
    assert again.steady.names() == alone.steady.names()


def test_what_follows_from_headers_that_come_again_is_worked_out_once() -> None:
    asked: list[str] = []

    def answer(found: SteadyHeaders, more: str) -> str:
        asked.append(more)
        assert found.get("content-length") is None  # it may be another with the next request
        return f"{found.get('host')} {more}"

    first = Headers(FIRST)
    second = Headers(raw_with(content_length=b"8"), first.steady)
    for each in (first, second, first):
        assert each.steady.once(answer, "x") == "a x"
        assert each.steady.once(answer, "y") == "a y"
    assert asked == ["x", "y"]
    assert Headers(raw_with(host=b"b"), first.steady).steady.once(answer, "x") == "b x"


def test_what_could_not_be_worked_out_is_tried_again() -> None:
    tried: list[int] = []

    def fail(_: SteadyHeaders) -> None:
        tried.append(1)
        raise ValueError("not now")

    found = Headers(FIRST)
    for _ in range(2):
        with pytest.raises(ValueError, match="not now"):
            found.steady.once(fail)
    assert len(tried) == 2


def test_what_is_remembered_of_headers_is_bounded() -> None:
    asked: list[int] = []

    def note(_: SteadyHeaders, number: int) -> int:
        asked.append(number)
        return number

    found = Headers(FIRST).steady
    for number in (*range(1000), 0):
        assert found.once(note, number) == number
    assert asked == [*range(1000), 0]
    assert found.worth_keeping
    assert not Headers([(b"x", b"y" * 5000)]).steady.worth_keeping
    assert not Headers([(b"%d" % each, b"") for each in range(33)]).steady.worth_keeping


def test_without_accept_a_client_takes_anything() -> None:
    assert kinds(accepted_by(headers())) == kinds(BOTH)


@pytest.mark.parametrize(
    ("accept", "accepted"),
    [
        ("application/json, text/event-stream", BOTH),
        ("text/event-stream,application/json", BOTH),
        ("application/json", JSON_ONLY),
        ("text/event-stream", STREAM_ONLY),
        ("*/*", BOTH),
        ("application/*", JSON_ONLY),
        ("text/*", STREAM_ONLY),
        ("text/html", NEITHER),
        ("application/jsonx, text/event", NEITHER),
        ("APPLICATION/JSON", JSON_ONLY),
        (" application/json ;charset=utf-8 ", JSON_ONLY),
        ("text/html, */*;q=0.1", BOTH),
        ("", BOTH),
        (", ,", BOTH),
        # RFC 9110, section 12.4.2: a weight of 0 means "not acceptable".
        ("application/json;q=0", NEITHER),
        ("*/*;q=0", NEITHER),
        ("application/json;q=0, text/event-stream", STREAM_ONLY),
        ("application/json; Q=0.000, text/event-stream; q=0.001", STREAM_ONLY),
        ("application/json;q=nonsense", NEITHER),
        ("application/json;v=1;q=0", NEITHER),
        # Section 12.5.1: the most specific range that matches counts.
        ("*/*, application/json;q=0", STREAM_ONLY),
        ("text/event-stream;q=0, */*", JSON_ONLY),
        ("text/*;q=0, text/event-stream, application/*;q=0.5", BOTH),
        ("*/*;q=0, application/json", JSON_ONLY),
    ],
)
def test_accept_is_read_as_rfc_9110_says(accept: str, accepted: Accepted) -> None:
    assert kinds(accepted_by(headers(("accept", accept)))) == kinds(accepted)


def test_several_accept_headers_count_as_one_list() -> None:
    both = headers(("accept", "application/json"), ("accept", "text/event-stream"))
    assert kinds(accepted_by(both)) == kinds(BOTH)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json ; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; charset=utf8",
        "application/json; profile=x",
    ],
)
def test_json_in_utf_8_is_json(content_type: str) -> None:
    assert is_json(headers(("content-type", content_type)))


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/jsonp",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/json;charset=latin-1",
        "json",
    ],
)
def test_anything_else_is_not(content_type: str) -> None:
    assert not is_json(headers(("content-type", content_type)))


def test_a_body_without_a_content_type_is_not_json() -> None:
    assert not is_json(headers())


@pytest.mark.parametrize(
    ("accept", "prefers_stream"),
    [
        ("application/json, text/event-stream", False),
        ("text/event-stream, application/json", True),
        ("text/event-stream;q=0.5, application/json", False),
        ("application/json;q=0.5, text/event-stream", True),
        ("*/*", False),
        ("text/event-stream, */*", True),
        ("text/event-stream", True),
        ("application/json", False),
        ("text/event-stream;q=0, application/json;q=0", False),
        ("text/event-stream;q=nan, application/json", False),
    ],
)
def test_the_kind_of_more_weight_is_preferred_and_else_the_first(
    accept: str, *, prefers_stream: bool
) -> None:
    assert accepted_by(headers(("accept", accept))).prefers_stream is prefers_stream


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("40", 40),
        ("0" * 5000 + "40", 40),
        ("9" * 5000, sys.maxsize),
        ("", None),
        ("-1", None),
        ("1e3", None),
    ],
)
def test_the_declared_length_is_read_whatever_its_digits(text: str, size: int | None) -> None:
    sent = headers(
        ("content-length", text),
        ("content-type", "application/json"),
        ("accept", "application/json"),
    )
    assert declared_bytes(sent) == size
    if size is None or size <= MAX_MESSAGE_BYTES:
        assert check_post_headers(sent).json
    else:
        with pytest.raises(RefusedError):
            check_post_headers(sent)
