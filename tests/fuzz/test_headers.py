"""Whatever stands in the headers that name a trace, a session, an event or a method."""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from hypothesis import strategies as st
from opentelemetry import baggage, trace
from tests.fuzz.conftest import TRIED
from tests.fuzz.exploring import explore
from tests.requirements import requirement
from tests.support.hostile import check_told, read_responses, sent_raw, unharmed
from tests.support.mcp_http import call, http_session
from tests.support.stack import Stack

from linkspan_propagation import extract_from_fields

Record = Callable[[str, object], None]

HEX: Final = st.text("0123456789abcdefABCDEF", max_size=40)
TRACEPARENTS: Final = st.one_of(
    st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-9a-f]", fullmatch=True),
    st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,9})?", fullmatch=True),
    st.tuples(HEX, HEX, HEX, HEX).map("-".join),
    st.sampled_from(["00-" + "0" * 32 + "-" + "0" * 16 + "-01", "", "-", "00" * 5000]),
)
MEMBERS: Final = st.tuples(
    st.text(max_size=12), st.sampled_from(["=", "==", "", ";", "@"]), st.text(max_size=20)
).map("".join)
LISTS: Final = st.one_of(
    st.lists(MEMBERS, max_size=40).map(",".join),
    st.sampled_from(["a=b", "a=b;c=d", "," * 1000, "a=" + "b" * 9000, "a=%00%FF%zz", "a=b," * 200]),
)
ANY_TEXT: Final = st.text(max_size=30)
EVENT_IDS: Final = st.one_of(
    st.tuples(st.text(max_size=20), st.sampled_from([".", "-", ""]), st.integers()).map(
        lambda parts: f"{parts[0]}{parts[1]}{parts[2]}"
    ),
    ANY_TEXT,
    st.sampled_from(["x" * 64, "x" * 65, "x" * 5000, "0", "-1.-1", "%"]),
)
ACCEPTS: Final = st.lists(
    st.tuples(
        st.sampled_from(["application/json", "text/event-stream", "*/*", "text/*", "", "x"]),
        st.sampled_from(
            ["", ";q=0", ";q=1.0", ";Q = 0.5;x", ";q=", ";q=x", ";q=nan", ";q=1e999", ";"]
        ),
    ).map("".join),
    max_size=4,
).map(",".join)
VERSIONS: Final = st.one_of(
    st.sampled_from(["2026-07-28", "2025-11-25", "2025-03-26", "2099-01-01", "0"]), ANY_TEXT
)
FIELDS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("traceparent"), TRACEPARENTS),
        st.tuples(st.sampled_from(["tracestate", "baggage"]), LISTS),
        st.tuples(st.just("last-event-id"), EVENT_IDS),
        st.tuples(st.just("mcp-protocol-version"), VERSIONS),
        st.tuples(st.sampled_from(["mcp-method", "mcp-name", "mcp-param-a", "mcp-x"]), ANY_TEXT),
        st.tuples(st.just("accept"), ACCEPTS),
        st.tuples(
            st.sampled_from(["content-type", "origin", "user-agent", "authorization"]), ANY_TEXT
        ),
        st.tuples(st.from_regex(r"[a-z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True), ANY_TEXT),
    ),
    max_size=8,
)
FRAMING: Final = {"content-length", "transfer-encoding", "connection", "host", "upgrade", "expect"}


@requirement("fuzz.headers")
def test_trace_context_is_read_or_left_out(record_property: Record) -> None:
    def check(fields: tuple[list[str], list[str], list[str]]) -> int:
        context = extract_from_fields(*fields)
        span = trace.get_current_span(context).get_span_context()
        assert span.is_valid or not span.trace_id
        assert re.fullmatch(r"[\x20-\x7e]*", span.trace_state.to_header())
        for name, value in baggage.get_all(context).items():
            assert isinstance(name, str)
            assert isinstance(value, str)
        return 1

    several = st.tuples(
        st.lists(TRACEPARENTS, max_size=3), st.lists(LISTS, max_size=3), st.lists(LISTS, max_size=3)
    )
    record_property(TRIED, explore(several, check, examples=250))


@requirement("fuzz.headers")
def test_a_request_with_any_headers_is_answered(target: Stack, record_property: Record) -> None:
    url = urlsplit(target.mcp)
    ping = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    with unharmed(target), http_session(target.mcp) as session:
        with session.stream(call("count", {"to": 3, "every_seconds": 0.001})) as events:
            seen = [event.id for event in events][1]
        usual = [
            ("host", url.netloc),
            ("mcp-session-id", session.session_id),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ]

        def check(made: tuple[str, list[tuple[str, str]]]) -> int:
            verb, fields = made
            named = {name for name, _ in fields}
            lines = [
                *(pair for pair in usual if pair[0] not in named),
                *(pair for pair in fields if pair[0] not in FRAMING),
            ]
            event_ids = [_value(text).strip() for name, text in lines if name == "last-event-id"]
            if verb == "GET" and not (event_ids and event_ids[-1]):
                lines.append(("last-event-id", seen))  # else it would listen for an hour
            head = "".join(f"{name}: {_value(text)}\r\n" for name, text in lines).encode()
            body = ping if verb == "POST" else b""
            framing = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            data = f"{verb} /mcp HTTP/1.1\r\n".encode() + head + framing + body
            try:
                (response,) = read_responses(sent_raw(target.mcp, [data]))
                assert response.whole
                check_told(response)
            except AssertionError as error:
                error.add_note(f"sent: {data[:3000]!r}")
                raise
            return 1

        verbs = st.sampled_from(["POST", "POST", "GET", "OPTIONS"])
        record_property(TRIED, explore(st.tuples(verbs, FIELDS), check, examples=300))


def _value(text: str) -> str:
    """Leave out what no field may hold: that is another fuzzer's."""
    return re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", "", text)
