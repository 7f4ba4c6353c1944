"""What the API and the page's server answer: searches, pages, one trace, the live stream, refusals."""

import http.client
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from tests.requirements import requirement
from tests.traces.backend import (
    BEGAN,
    MILLI,
    PROTOBUF,
    Backend,
    new_id,
    running_backend,
    span,
)

from linkspan_contract.session_digest import session_digest

SESSION = "a-session-id-that-nobody-may-see"
DIGEST = session_digest(SESSION)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Backend, dict[str, str]]]:
    """A backend with a few traces, and their ids by what they are."""
    made = {
        name: new_id(16)
        for name in ("plain", "call", "other", "failing", "refused", "lost", "open")
    }
    with running_backend(tmp_path_factory.mktemp("shop")) as backend:
        backend.send(span(made["plain"], "plain", start=0, took=5), service="batch")
        for place, name in enumerate(("call", "other")):
            root = span(
                made[name],
                "mcp.request",
                start=1000 * (place + 1),
                took=50 * (place + 1),
                mcp__session__id=DIGEST,
                mcp__method__name="tools/call",
                mcp__tool__name="add" if name == "call" else "echo",
            )
            backend.send(root, service="worker")
            backend.send(span(made[name], parent=root, start=1000 * (place + 1)), service="session")
        backend.send(span(made["failing"], "bad", start=3000, error="no"))
        backend.send(span(made["refused"], "odd", start=4000, error__type="404"))
        backend.send(span(made["lost"], "lost", start=5000, parent=new_id(8)))
        backend.send(span(made["open"], "long", start=6000, took=-1))
        yield backend, {name: trace.hex() for name, trace in made.items()}


@requirement("traces.search")
@pytest.mark.parametrize(
    ("search", "found"),
    [
        ({}, "open lost refused failing other call plain"),
        ({"order": "oldest"}, "plain call other failing refused lost open"),
        ({"session": SESSION}, "other call"),
        ({"session": DIGEST, "order": "oldest"}, "call other"),
        ({"session": "another"}, ""),
        ({"method": "tools/call"}, "other call"),
        ({"method": "tools/call", "tool": "add"}, "call"),
        ({"service": "session"}, "other call"),
        ({"service": "batch"}, "plain"),
        ({"status": "error"}, "failing"),
        ({"status": "warning"}, "refused"),
        ({"status": "failed"}, "refused failing"),
        ({"status": "ok"}, "open lost other call plain"),
        ({"status": "unstitched"}, "lost"),
        ({"status": "open"}, "open"),
        ({"min_ms": "50"}, "other call"),
        ({"min_ms": "50", "max_ms": "50"}, "call"),
        ({"max_ms": "0"}, "open"),
        ({"limit": "2"}, "open lost"),
        ({"tool": "' OR 1=1 --"}, ""),
        ({"tool": "", "session": " "}, "open lost refused failing other call plain"),
    ],
)
def test_a_search_finds_what_is_meant(
    shop: tuple[Backend, dict[str, str]], search: dict[str, str], found: str
) -> None:
    backend, made = shop
    names = {trace_id: name for name, trace_id in made.items()}
    assert " ".join(names[each] for each in backend.ids(**search)) == found


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_pages_make_up_the_whole_list(shop: tuple[Backend, dict[str, str]], order: str) -> None:
    backend, _ = shop
    walked: list[str] = []
    cursor = ""
    while True:
        page = backend.get("traces", limit=2, order=order, cursor=cursor)
        walked += [trace["trace_id"] for trace in page["traces"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert walked == backend.ids(order=order)


@pytest.mark.parametrize(
    "search",
    [
        {"color": "red"},
        {"status": "broken"},
        {"limit": "0"},
        {"limit": "501"},
        {"limit": "-1"},
        {"limit": "²"},
        {"min_ms": "soon"},
        {"min_ms": "nan"},
        {"max_ms": "-1"},
        {"trace": "xyz"},
        {"trace": "a" * 33},
        {"cursor": "1"},
        {"cursor": f"{2**63}-{'a' * 32}"},
        {"order": "up"},
        {"tool": "x" * 5000},
    ],
)
def test_a_search_that_makes_no_sense_is_refused_in_one_sentence(
    backend: Backend, search: dict[str, str]
) -> None:
    answer = backend.ask("GET", f"/api/traces?{urlencode(search)}")
    assert answer.status == 400
    assert answer.json["error"]


@requirement("traces.search")
def test_a_trace_is_found_by_how_its_id_begins(tmp_path: Path) -> None:
    ids = ["aaaa1" + "0" * 27, "aaaa2" + "0" * 27, "bbbb3" + "0" * 27]
    with running_backend(tmp_path) as backend:
        for each in ids:
            backend.send(span(bytes.fromhex(each)))
        assert backend.get("traces/aaaa1")["trace_id"] == ids[0]
        assert backend.get("traces/BBBB")["trace_id"] == ids[2]
        several = backend.ask("GET", "/api/traces/aaaa")
        assert (several.status, several.json["candidates"]) == (409, ids[:2])
        similar = backend.ask("GET", "/api/traces/bbbb3ff")
        assert (similar.status, similar.json["similar"]) == (404, [ids[2]])
        nothing = backend.ask("GET", "/api/traces/cccc")
        assert (nothing.status, nothing.json["similar"]) == (404, [])
        assert sorted(backend.ids(trace="aaaa")) == ids[:2]


@requirement("traces.sessions")
def test_sessions_are_listed_with_their_numbers_the_last_active_first(tmp_path: Path) -> None:
    quiet, busy = session_digest("quiet"), session_digest("busy")
    with running_backend(tmp_path) as backend:
        assert backend.get("sessions") == {"sessions": [], "next_cursor": ""}
        backend.send(
            span(new_id(16), mcp__session__id=busy, start=0, took=5, error="no"),
            span(new_id(16), mcp__session__id=busy, start=10, took=5, error__type="404"),
            span(new_id(16), mcp__session__id=busy, start=300, took=20),
            span(new_id(16), mcp__session__id=busy, start=20, took=-1),
            # OpenTelemetry's conventions have the id itself; it stays unseen.
            span(new_id(16), mcp__session__id="quiet", start=100, took=150),
            span(new_id(16), "of no session", start=900),
        )
        told = backend.get("sessions")
        numbers = ("requests", "errors", "warnings", "open")
        listed = [(each["session"], *(each[name] for name in numbers)) for each in told["sessions"]]
        assert listed == [(busy, 4, 1, 1, 1), (quiet, 1, 0, 0, 0)]
        times = [
            [(int(each[name]) - BEGAN) / MILLI for name in ("first_nanos", "last_nanos")]
            for each in told["sessions"]
        ]
        assert times == [[0, 320], [100, 250]]
        first = backend.get("sessions", limit=1)
        assert first["sessions"] == told["sessions"][:1]
        rest = backend.get("sessions", limit=1, cursor=first["next_cursor"])
        assert rest == {"sessions": told["sessions"][1:], "next_cursor": ""}
        # Each leads to its view, by what the list says and by the id.
        for session in (quiet, "quiet"):
            assert len(backend.ids(session=session)) == 1


@pytest.mark.parametrize(
    "search",
    [
        {"session": "a"},
        {"limit": "0"},
        {"cursor": "1"},
        {"cursor": f"{2**63}-{'a' * 16}"},
        {"cursor": f"1-{'x' * 16}"},
    ],
)
def test_a_list_of_sessions_that_makes_no_sense_is_refused(
    backend: Backend, search: dict[str, str]
) -> None:
    answer = backend.ask("GET", f"/api/sessions?{urlencode(search)}")
    assert answer.status == 400
    assert answer.json["error"]


@requirement("traces.links")
def test_links_lead_both_ways(backend: Backend) -> None:
    asked, went_on, elsewhere = new_id(16), new_id(16), new_id(16)
    question = span(asked, "question")
    backend.send(question)
    answer = span(went_on, "answer", start=100, links=(question, span(elsewhere)))
    backend.send(answer)
    path = f"traces/{went_on.hex()}/spans/{answer.span_id.hex()}"
    known = [(each["trace_id"], each["known"]) for each in backend.get(path)["links"]]
    assert known == [(asked.hex(), True), (elsewhere.hex(), False)]
    (incoming,) = backend.get(f"traces/{asked.hex()}")["incoming"]
    assert incoming == {
        "trace_id": went_on.hex(),
        "span_id": answer.span_id.hex(),
        "target_span_id": question.span_id.hex(),
        "name": "answer",
    }


@requirement("traces.open")
def test_an_open_span_without_its_end_can_be_asked_for_by_its_start_marker(
    backend: Backend,
) -> None:
    trace, span_id = new_id(16), new_id(8)
    marker = span(
        trace,
        "listen started",
        took=0,
        linkspan__started__span_id=span_id.hex(),
        linkspan__started__kind="SERVER",
    )
    backend.send(marker)
    (row,) = backend.get(f"traces/{trace.hex()}")["spans"]
    shown = (row["span_id"], row["name"], row["kind"], row["open"])
    assert shown == (span_id.hex(), "listen", "SERVER", True)
    details = backend.get(f"traces/{trace.hex()}/spans/{span_id.hex()}")
    assert details["name"] == "listen started"


@contextmanager
def tail(backend: Backend, **search: str) -> Generator[Iterator[Any]]:
    """Watch, and give the traces that are told."""
    connection = http.client.HTTPConnection(urlsplit(backend.url).netloc, timeout=20)
    connection.request("GET", f"/api/tail?{urlencode(search)}")
    response = connection.getresponse()
    assert response.status == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert response.readline() == b": alive\n"  # from here on nothing is missed
    lines = (line.decode() for line in response)
    try:
        yield (json.loads(line[6:]) for line in lines if line.startswith("data: "))
    finally:
        connection.close()


@requirement("traces.live")
def test_a_watcher_hears_of_the_traces_that_it_means_and_no_others(backend: Backend) -> None:
    wanted, other = new_id(16), new_id(16)
    with tail(backend, tool="hammer") as told:
        backend.send(span(other, "other", mcp__tool__name="saw"))
        root = span(wanted, "wanted", mcp__tool__name="hammer")
        backend.send(root)
        first = next(told)
        backend.send(span(wanted, "more", parent=root))
        second = next(told)
    assert [first["trace_id"], second["trace_id"]] == [wanted.hex(), wanted.hex()]
    assert (first["spans"], second["spans"]) == (1, 2)


def test_a_watcher_that_wants_settled_traces_hears_of_one_when_it_is_whole(
    backend: Backend,
) -> None:
    trace = new_id(16)
    root = span(trace, "root", mcp__tool__name="vise")
    with tail(backend, tool="vise", settled="1") as told:
        backend.send(span(trace, "child", parent=root, mcp__tool__name="vise"))
        backend.send(root)
        first = next(told)
    assert (first["spans"], first["stitch"]) == (2, "whole")


@requirement("traces.private")
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/page/main.js", "text/javascript"),
        ("/page/theme.css", "text/css"),
        ("/page/icon.svg", "image/svg+xml"),
    ],
)
def test_the_page_lets_nothing_else_in(backend: Backend, path: str, kind: str) -> None:
    answer = backend.ask("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(kind)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    again = backend.ask("GET", path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/page/", "/page/index.html", "/page/../config.py", "/page/%2e%2e/config.py", "/page"]
)
def test_no_other_file_is_served(backend: Backend, path: str) -> None:
    assert backend.ask("GET", path).status == 404


@requirement("traces.private")
@pytest.mark.parametrize("path", ["/", "/api/traces", "/api/tail", "/v1/traces"])
@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example", None),
        ("127.0.0.1.evil.example", None),
        ("[::1", None),
        ("", None),
        ("127.0.0.1:1", "http://evil.example"),
        ("127.0.0.1:1", "http://127.0.0.1:2"),
        ("127.0.0.1:1", "null"),
    ],
)
def test_pages_of_others_are_refused(
    backend: Backend, path: str, host: str, origin: str | None
) -> None:
    headers = {"host": host, "content-type": PROTOBUF}
    if origin is not None:
        headers["origin"] = origin
    method = "POST" if path == "/v1/traces" else "GET"
    assert backend.ask(method, path, b"", headers).status == 403


@pytest.mark.parametrize("host", ["localhost:1", "LOCALHOST", "[::1]:80", "127.0.0.2"])
def test_this_machines_own_names_are_served(backend: Backend, host: str) -> None:
    assert backend.ask("GET", "/api/status", headers={"host": host}).status == 200


def test_the_api_is_only_read(backend: Backend) -> None:
    for path in ("/api/traces", "/", "/api/tail"):
        assert backend.ask("DELETE", path).status == 405
        assert backend.ask("POST", path, b"{}", {"content-type": "text/plain"}).status == 405
