"""Reading and writing JSON-RPC: what is a message, what is refused, what survives a round trip."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.requirements import requirement

from linkspan_contract.envelope import (
    INVALID_REQUEST,
    PARSE_ERROR,
    EnvelopeError,
    Notification,
    Request,
    Response,
    check_envelope,
    encode,
    encode_error,
    encode_result,
    parse_envelope,
)
from linkspan_contract.limits import MAX_JSON_DEPTH, MAX_MESSAGE_BYTES

# Everything that JSON can say and UTF-8 can carry; a lone surrogate is tested by itself.
_TEXT = st.text(st.characters(codec="utf-8"))
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=10,
)
_OBJECT = st.dictionaries(_TEXT, _JSON, max_size=4)
_ID = st.integers(-(2**70), 2**70) | _TEXT


def refusal(text: str | bytes) -> EnvelopeError:
    with pytest.raises(EnvelopeError) as refused:
        parse_envelope(text)
    return refused.value


@given(_ID, _TEXT, st.none() | _OBJECT)
def test_a_request_reads_as_it_was_written(
    request_id: str | int, method: str, params: dict[str, Any] | None
) -> None:
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, "method": method}
    if params is not None:
        message["params"] = params
    text = encode(message)
    assert "\n" not in text
    assert "\r" not in text
    assert parse_envelope(text) == Request(request_id, method, params)
    assert parse_envelope(text.encode()) == Request(request_id, method, params)


@given(_TEXT, _OBJECT)
def test_a_notification_reads_as_it_was_written(method: str, params: dict[str, Any]) -> None:
    text = encode({"jsonrpc": "2.0", "method": method, "params": params})
    assert parse_envelope(text) == Notification(method, params)


@given(_ID, _OBJECT)
def test_a_result_reads_as_it_was_written(request_id: str | int, result: dict[str, Any]) -> None:
    assert parse_envelope(encode_result(request_id, result)) == Response(request_id, result, None)


@given(_ID, st.integers(-(2**31), 2**31 - 1), _TEXT, _JSON.filter(lambda data: data is not None))
def test_an_error_reads_as_it_was_written(
    request_id: str | int, code: int, message: str, data: object
) -> None:
    error = {"code": code, "message": message, "data": data}
    text = encode_error(request_id, code, message, data)
    assert parse_envelope(text) == Response(request_id, None, error)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_input_does_anything_but_read_or_be_refused(noise: str | bytes) -> None:
    with suppress(EnvelopeError):
        assert isinstance(parse_envelope(noise), Request | Notification | Response)


@given(_JSON)
def test_no_json_value_does_anything_but_read_or_be_refused(value: object) -> None:
    with suppress(EnvelopeError):
        assert isinstance(check_envelope(value), Request | Notification | Response)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"   ", id="white-space"),
        pytest.param(b"{", id="cut"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"method":"x"} x', id="more-after-it"),
        pytest.param(b"{'jsonrpc':'2.0'}", id="single-quotes"),
        pytest.param(b'{"a":NaN}', id="nan"),
        pytest.param(b'{"a":-Infinity}', id="infinity"),
        pytest.param(b'{"a":"\xff"}', id="not-utf-8"),
        pytest.param('{"jsonrpc":"2.0","method":"x"}'.encode("utf-16"), id="utf-16"),
        pytest.param('{"jsonrpc":"2.0","method":"x"}'.encode("utf-32"), id="utf-32"),
        pytest.param(b'\xef\xbb\xbf{"jsonrpc":"2.0","method":"x"}', id="byte-order-mark"),
        pytest.param(b'{"jsonrpc":"2.0","method":"\xed\xa0\x80"}', id="surrogate-as-bytes"),
        pytest.param(b'{"jsonrpc":"2.0","method":"\\ud800"}', id="surrogate-as-escape"),
        pytest.param(b'{"jsonrpc":"2.0","method":"\\uDC00"}', id="surrogate-in-upper-case"),
        pytest.param('{"jsonrpc":"2.0","method":"\ud800"}', id="surrogate-in-text"),
        pytest.param(b'{"\\ud800":1}', id="surrogate-as-key"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep-and-closed"),
        pytest.param(b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b"}", id="a-number-without-end"),
    ],
)
def test_what_is_not_json_is_a_parse_error(body: str | bytes) -> None:
    error = refusal(body)
    assert error.code == PARSE_ERROR
    assert error.request_id is None


@pytest.mark.parametrize(
    ("body", "request_id"),
    [
        pytest.param("[]", None, id="empty-batch"),
        pytest.param('[{"jsonrpc":"2.0","id":1,"method":"x"}]', None, id="batch"),
        pytest.param("1", None, id="number"),
        pytest.param("null", None, id="null"),
        pytest.param('"ping"', None, id="string"),
        pytest.param("{}", None, id="empty-object"),
        pytest.param('{"id":1,"method":"x"}', 1, id="no-version"),
        pytest.param('{"jsonrpc":"1.0","id":1,"method":"x"}', 1, id="old-version"),
        pytest.param('{"jsonrpc":2.0,"id":"a","method":"x"}', "a", id="version-as-number"),
        pytest.param('{"jsonrpc":"2.0","id":1}', 1, id="neither-call-nor-answer"),
        pytest.param('{"jsonrpc":"2.0","id":1,"method":7}', 1, id="method-not-a-string"),
        pytest.param('{"jsonrpc":"2.0","id":1,"method":null}', 1, id="method-null"),
        pytest.param('{"jsonrpc":"2.0","id":1,"method":"x","params":[]}', 1, id="params-a-list"),
        pytest.param('{"jsonrpc":"2.0","method":"x","params":"a"}', None, id="params-a-string"),
        pytest.param('{"jsonrpc":"2.0","id":null,"method":"x"}', None, id="id-null"),
        pytest.param('{"jsonrpc":"2.0","id":true,"method":"x"}', None, id="id-true"),
        pytest.param('{"jsonrpc":"2.0","id":1.5,"method":"x"}', None, id="id-a-fraction"),
        pytest.param('{"jsonrpc":"2.0","id":{},"method":"x"}', None, id="id-an-object"),
        pytest.param('{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', 1, id="both"),
        pytest.param('{"jsonrpc":"2.0","id":1,"result":null}', 1, id="result-null"),
        pytest.param('{"jsonrpc":"2.0","id":1,"result":"x"}', 1, id="result-a-string"),
        pytest.param('{"jsonrpc":"2.0","id":1,"error":"x"}', 1, id="error-a-string"),
        pytest.param('{"jsonrpc":"2.0","result":{}}', None, id="answer-without-id"),
        pytest.param('{"jsonrpc":"2.0","id":false,"result":{}}', None, id="answer-to-false"),
    ],
)
def test_json_that_is_not_a_message_is_an_invalid_request(
    body: str, request_id: str | int | None
) -> None:
    error = refusal(body)
    assert (error.code, error.request_id) == (INVALID_REQUEST, request_id)


@pytest.mark.parametrize("request_id", [0, -1, 2**63, 10**4000, "", "1", "é", "\u2028"])
def test_an_id_is_any_string_or_integer(request_id: str | int) -> None:
    envelope = parse_envelope(json.dumps({"jsonrpc": "2.0", "id": request_id, "method": "x"}))
    assert envelope == Request(request_id, "x", None)
    assert parse_envelope(encode_result(request_id, {})) == Response(request_id, {}, None)


def test_params_of_null_count_as_none() -> None:
    assert parse_envelope('{"jsonrpc":"2.0","method":"x","params":null}') == Notification("x", None)


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert parse_envelope(rb'{"jsonrpc":"2.0","method":"\ud83d\ude00"}') == Notification("😀", None)


def nested(depth: int, opening: str, closing: str) -> str:
    """A request that is nested in so many levels, as a whole."""
    inner = opening * (depth - 2) + "1" + closing * (depth - 2)
    return '{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":' + inner + "}}"


@requirement("http.deep-json")
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[2,{"a":', "}]")])
def test_a_message_may_be_nested_just_as_deeply_as_it_may(opening: str, closing: str) -> None:
    levels = opening.count("[") + opening.count("{")
    deepest = nested(2 + (MAX_JSON_DEPTH - 2) // levels, opening, closing)
    assert isinstance(parse_envelope(deepest), Request)
    deeper = nested(2 + (MAX_JSON_DEPTH - 2) // levels + 1, opening, closing)
    assert refusal(deeper).code == PARSE_ERROR
    assert refusal(nested(900, opening, closing)).code == PARSE_ERROR
    assert refusal(nested(100_000, opening, closing)).code == PARSE_ERROR


def test_brackets_in_a_text_and_beside_each_other_are_no_depth() -> None:
    params: dict[str, Any] = {"text": "[{" * 1000, "list": [[]] * 1000}
    assert parse_envelope(encode({"jsonrpc": "2.0", "method": "m", "params": params})) == (
        Notification("m", params)
    )


@requirement("http.deep-json")
@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 400 + ".0", "9" * 5000])
def test_a_number_that_cannot_be_passed_on_is_refused(number: str) -> None:
    text = '{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":' + number + "}}"
    assert refusal(text).code == PARSE_ERROR


@pytest.mark.parametrize("number", ["1e308", "-1e308", "1e-400", "0.1", "1" + "0" * 400])
def test_a_number_that_can_be_passed_on_is_read(number: str) -> None:
    text = '{"jsonrpc":"2.0","method":"m","params":{"a":' + number + "}}"
    assert parse_envelope(text) == Notification("m", {"a": json.loads(number)})


def test_of_a_name_that_comes_twice_the_last_one_counts() -> None:
    text = '{"jsonrpc":"2.0","method":"a","method":"b","params":{"x":1,"x":2}}'
    assert parse_envelope(text) == Notification("b", {"x": 2})


@pytest.mark.parametrize("letter", ["a", "é", "€", "😀"])
def test_the_size_of_a_message_counts_in_bytes(letter: str) -> None:
    frame = '{"jsonrpc":"2.0","method":""}'
    room = MAX_MESSAGE_BYTES - len(frame)
    name = letter * (room // len(letter.encode()))
    name += "x" * (room - len(name.encode()))
    largest = frame.replace('""', f'"{name}"')
    assert len(largest.encode()) == MAX_MESSAGE_BYTES
    for fits in (largest, largest.encode()):
        assert parse_envelope(fits) == Notification(name, None)
    for too_large in (largest + " ", (largest + " ").encode()):
        error = refusal(too_large)
        assert error.code == INVALID_REQUEST
        assert str(MAX_MESSAGE_BYTES) in str(error)


def test_half_a_pair_of_surrogates_is_written_as_an_escape() -> None:
    text = encode_result(1, {"\ud800": "\udfff", "é": "é"})
    assert text.encode("ascii")
    assert json.loads(text)["result"] == {"\ud800": "\udfff", "é": "é"}


def test_text_that_utf_8_can_carry_is_not_escaped() -> None:
    assert encode({"a": "é€😀\u2028"}) == '{"a":"é€😀\u2028"}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_has_no_word_for_is_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode({"a": value})


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}])
def test_an_object_that_is_not_json_is_not_written(value: object) -> None:
    with pytest.raises(TypeError):
        encode({"a": value})


def test_an_error_to_nobody_has_the_id_null() -> None:
    assert json.loads(encode_error(None, PARSE_ERROR, "no")) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": PARSE_ERROR, "message": "no"},
    }
