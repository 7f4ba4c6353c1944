"""Events as lines, excerpts of content, and what the documentation says of them: no process, no I/O."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.requirements import requirement
from tests.support.processes import REPOSITORY

from linkspan_process.audit import EVENTS, FIELDS, AuditEvent, excerpt
from linkspan_process.audit.content import REDACTED
from linkspan_process.audit.events import attributes_of, bounded, line_of

PAGE = (REPOSITORY / "docs" / "audit.md").read_text("utf-8")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@requirement("audit.lines")
@example("\x00\n\r\x1b[2J\x7f\x9b\u2028\ud800")
@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_is_one_line_of_printable_ascii_and_is_read_back(text: str) -> None:
    event = AuditEvent("linkspan.audit.tool_call", 1_700_000_000_123_456_789, {"tool": text}, 1, 2)
    line = line_of(event, "linkspan-session")
    assert re.fullmatch(rb"[\x20-\x7e]*\n", line)
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.123457Z",
        "event": "linkspan.audit.tool_call",
        "service": "linkspan-session",
        "trace_id": f"{1:032x}",
        "span_id": f"{2:016x}",
        "tool": text,
    }
    attributes_of(event)["gen_ai.tool.name"].encode()  # type: ignore[union-attr] # a text


def test_a_field_is_cut_to_its_bound_and_left_out_if_it_says_nothing() -> None:
    said = bounded({"tool": "x" * 5000, "subject": "s" * 5000, "issuer": "", "count": 0})
    assert said == {"tool": "x" * 256, "subject": "s" * 2048, "count": 0}


def test_a_field_that_is_not_declared_is_a_defect() -> None:
    with pytest.raises(KeyError):
        bounded({"password": "x"})


@requirement("audit.secrets")
@pytest.mark.parametrize(
    "value",
    [
        {"password": "hunter22"},
        {"deep": [{"Api-Key": "hunter22"}]},
        {"client_secret": {"value": "hunter22"}},
        {"text": "Authorization: Bearer hunter22"},
        {"text": "Basic aHVudGVyMjI6aHVudGVyMjI hunter"},
        {"text": "eyJhbGciOiJIUzI1NiJ9.hunter22.hunter22"},
        {"text": "linkspan_" + "hunter22" * 5},
        {"text": "-----BEGIN RSA PRIVATE KEY-----\nhunter22\n"},
    ],
)
def test_what_looks_like_a_credential_is_left_out(value: dict[str, Any]) -> None:
    shown = excerpt(value)
    assert REDACTED in shown
    assert "hunter22" not in shown
    assert "aHVudGVyMjI6" not in shown


def test_what_does_not_is_shown_as_it_is() -> None:
    value = {"a": [1, 2.5, True, None, "plain"], "author": {"name": "x"}}
    assert json.loads(excerpt(value)) == value


def test_what_is_no_json_or_cannot_be_written_is_shown_as_what_it_is() -> None:
    for value in (10**5000, -(10**5000), float("nan"), {10**5000: 1}, {None: 1}, object(), [b"x"]):
        assert len(excerpt({"n": value})) <= 40


def test_a_number_that_cannot_be_written_is_cut_to_one_that_can() -> None:
    for code in (10**5000, -(10**5000)):
        event = AuditEvent("linkspan.audit.tool_call", 0, bounded({"code": code}))
        assert abs(json.loads(line_of(event, "linkspan-session"))["code"]) == 2**63 - 1


@given(JSON, st.integers(10, 200))
def test_an_excerpt_is_never_longer_than_it_may_be(value: Any, most: int) -> None:
    assert len(excerpt(value, most)) <= most


def test_the_work_is_bounded_by_what_is_shown() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    assert len(excerpt({"deep": deep, "wide": list(range(1_000_000))})) <= 4096


@requirement("audit.documented")
def test_the_page_lists_events_and_fields_as_they_are_declared() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    for name, meaning in EVENTS.items():
        assert [row for row in rows if row.startswith(f"| `{name}` |") and meaning in row], name
    for name, field in FIELDS.items():
        assert f"| `{name}` | `{field.attribute}` | {field.meaning} |" in rows
    declared = {*EVENTS, *FIELDS}
    assert {row.split("`")[1] for row in rows if row.count("|") >= 3} >= declared
