"""The web page in headless Chromium: found, read, walked by keyboard, and not to be tricked."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
from tests.requirements import requirement
from tests.support.peer import session_at
from tests.support.stack import PROMPT_EXPORT, running_stack
from tests.traces.backend import Backend, new_id, running_backend, span
from tests.traces.chromium import Page, chromium_page
from tests.traces.screenshots import MAX_BYTES, take

from linkspan_contract.session_digest import session_digest

HOSTILE: Final = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\'"&amp;\u202e'

ROWS: Final = "document.querySelectorAll('.rows [role=row]')"
NAMES: Final = "[...document.querySelectorAll('.span .label')].map((each) => each.textContent)"
LEVELS: Final = f"[...{ROWS}].map((each) => Number(each.getAttribute('aria-level')))"
ACTIVE: Final = "document.querySelector('.rows .active .label')?.textContent"
COUNTED: Final = "Number(document.querySelector('.rows').getAttribute('aria-rowcount'))"
PANEL: Final = "document.querySelector('.panel:not([hidden])')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page that the tests of this file share."""
    with chromium_page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    """An empty page, light and wide; the test fails if the page complained of anything."""
    browser.look(width=1280, height=760)
    browser.open("about:blank")
    browser.problems.clear()
    yield browser
    assert browser.problems == []


def tree(backend: Backend) -> str:
    """Send a trace of five spans in three services, one of which failed; returns its id."""
    trace = new_id(16)
    root = span(trace, "mcp.request", kind="SERVER", took=100, mcp__tool__name="tree")
    handle = span(trace, "handle", parent=root, kind="SERVER", start=10, took=80)
    tool = span(trace, "tools/call tree", parent=handle, start=12, took=70, error="no such tree")
    get = span(trace, "GET", parent=tool, kind="CLIENT", start=20, took=40)
    serve = span(trace, "GET /trees", parent=get, kind="SERVER", start=28, took=25)
    backend.send(root, service="worker")
    backend.send(handle, tool, get, service="session")
    backend.send(serve, service="trees")
    return trace.hex()


@requirement("traces.waterfall")
def test_a_tool_call_is_found_and_its_waterfall_nested(tmp_path: Path, page: Page) -> None:
    with running_backend(tmp_path / "traces") as backend:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": backend.url, **PROMPT_EXPORT}
        with running_stack(tmp_path / "data", env=environ) as stack:
            page.open(backend.url)
            page.wait_for("document.querySelector('.live.on')")
            with session_at(stack.mcp) as peer:
                assert peer.call("add", a=2, b=3).result
                assert peer.call("echo", text="hello").result or True
                assert peer.ask("tools/list").result
            # It comes by itself, while the page is open.
            for each in ("initialize", "tools/call add", "tools/list"):
                page.wait_for(f"document.body.innerText.includes('{each}')")
            page.press("/")
            page.type(backend.get("traces", tool="add")["traces"][0]["trace_id"][:8])
            page.wait_for(f"{ROWS}.length === 1")
            page.press("Escape", "ArrowDown", "Enter")
            page.wait_for(f"{NAMES}.length === 3")
            assert page.evaluate(NAMES) == [
                "mcp.request",
                "McpSession.handleRequest",
                "tools/call add",
            ]
            assert page.evaluate(LEVELS) == [1, 2, 3]
            assert page.evaluate("document.querySelector('.problems').hidden")
            # Each begins while its parent runs; it may end a moment after that has answered.
            boxes = page.evaluate(
                "[...document.querySelectorAll('.bar')].map((each) => each.getBoundingClientRect())"
                ".map((box) => [box.left, box.right])"
            )
            for (left, right), (inner_left, inner_right) in pairwise(boxes):
                assert left - 1 <= inner_left < right
                assert inner_left < inner_right
            page.click(".head a[href^='#/session/']")
            page.wait_for("document.body.innerText.includes('the oldest first')")
            page.wait_for("document.querySelector('.title a')?.textContent === 'initialize'")
            titles = page.evaluate(
                "[...document.querySelectorAll('.title a')].map((each) => each.textContent)"
            )
            assert titles[0] == "initialize"
            assert titles.index("tools/call add") < titles.index("tools/list")
            page.open("about:blank")  # before the backend goes


@requirement("traces.keyboard")
def test_the_waterfall_is_walked_by_keyboard(backend: Backend, page: Page) -> None:
    trace = tree(backend)
    page.open(f"{backend.url}/#/trace/{trace}")
    page.wait_for(f"{NAMES}.length === 5")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "treegrid"
    assert page.evaluate(ACTIVE) == "mcp.request"
    page.press("ArrowDown", "ArrowDown")
    assert page.evaluate(ACTIVE) == "tools/call tree"
    active = "document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))"
    assert page.evaluate(f"{active}.getAttribute('aria-level')") == "3"
    page.press("ArrowLeft")
    page.wait_for(f"{NAMES}.length === 3")
    assert page.evaluate(f"{active}.getAttribute('aria-expanded')") == "false"
    page.press("ArrowLeft")
    assert page.evaluate(ACTIVE) == "handle"
    page.press("ArrowDown", "ArrowRight")
    page.wait_for(f"{NAMES}.length === 5")
    page.press("Enter")
    page.wait_for(f"{PANEL} && {PANEL}.innerText.includes('no such tree')")
    assert page.evaluate("document.activeElement.textContent") == "tools/call tree"
    page.press("Escape")
    assert not page.evaluate(f"!!{PANEL}")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "treegrid"
    page.press("End")
    assert page.evaluate(ACTIVE) == "GET /trees"
    page.press("Home", "Escape")
    page.wait_for("location.hash === '#/'")


@requirement("traces.gaps")
def test_errors_gaps_and_the_critical_path_are_to_be_seen(backend: Backend, page: Page) -> None:
    page.open(f"{backend.url}/#/trace/{tree(backend)}")
    page.wait_for(f"{NAMES}.length === 5")
    failed = "[...document.querySelectorAll('.span.error .label')].map((each) => each.textContent)"
    assert page.evaluate(failed) == ["tools/call tree"]
    gaps = "[...document.querySelectorAll('.gap')].map((each) => each.title)"
    assert page.evaluate(gaps) == [
        "between processes: 10.0 ms",
        "network: 8.00 ms",
        "network, on the way back: 7.00 ms",
    ]
    assert page.evaluate("document.querySelectorAll('.path').length") >= 5
    colours = (
        "new Set([...document.querySelectorAll('.bar')].map((each) =>"
        " getComputedStyle(each).backgroundColor)).size"
    )
    assert page.evaluate(colours) == 3


@requirement("traces.looks")
@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_told_from_its_ground(backend: Backend, page: Page, dark: bool) -> None:
    page.look(width=1280, height=760, dark=dark)
    page.open(f"{backend.url}/#/trace/{tree(backend)}")
    page.wait_for(f"{NAMES}.length === 5")
    # WCAG 2.2, sections 1.4.3 and 1.4.11: 4.5 for text, 3 for what else one has to see.
    ratios = page.evaluate(
        """(() => {
          const style = getComputedStyle(document.documentElement);
          const light = (name) => {
            const hex = style.getPropertyValue(name).trim().slice(1);
            const parts = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
              .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
          };
          const ratio = (a, b) => {
            const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
            return (high + 0.05) / (low + 0.05);
          };
          const bars = [...Array(10).keys()].map((at) => "--s" + at)
            .map((bar) => [bar, ratio(bar, "--ground"), 3]);
          const texts = [["--text", "--ground"], ["--soft", "--ground"], ["--accent", "--ground"],
            ["--error", "--ground"], ["--error", "--error-ground"], ["--warning", "--warning-ground"],
            ["--warning", "--ground"], ["--soft", "--raised"], ["--text", "--active"],
            ["--soft", "--active"], ["--soft", "--error-ground"], ["--text", "--hover"]]
            .map(([a, b]) => [a + " on " + b, ratio(a, b), 4.5]);
          return [...bars, ...texts];
        })()"""
    )
    assert [each for each in ratios if each[1] < each[2]] == []


@requirement("traces.private")
def test_hostile_text_stays_text(backend: Backend, page: Page) -> None:
    trace, other = new_id(16), new_id(16)
    first = span(other, HOSTILE, start=-10)
    root = span(trace, HOSTILE, error=HOSTILE, mcp__method__name=HOSTILE, links=(first,))
    root.attributes.add(key=HOSTILE).value.string_value = HOSTILE
    root.events.add(name=HOSTILE, time_unix_nano=root.start_time_unix_nano).attributes.extend(
        root.attributes
    )
    backend.send(first, service=HOSTILE)
    backend.send(root, service=HOSTILE)
    page.open(f"{backend.url}/#/?trace={trace.hex()}")
    page.wait_for(f"{ROWS}.length === 1")
    page.evaluate(f"{ROWS}[0].click()")
    page.wait_for(f"{NAMES}.length === 1")
    page.press("Enter")
    page.wait_for(f"{PANEL}?.querySelector('details')")
    assert page.evaluate(NAMES) == [HOSTILE]
    shown = page.evaluate(
        "[...document.querySelectorAll('.panel dt, .panel dd')].map((each) => each.textContent)"
    )
    assert shown.count(HOSTILE) >= 4
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("document.querySelectorAll('main img, main script').length") == 0


@requirement("traces.private")
def test_a_script_that_gets_in_all_the_same_does_not_run(backend: Backend, page: Page) -> None:
    page.open(backend.url)
    page.wait_for("document.querySelector('.search')")
    outcome = page.evaluate(
        "(() => {try {document.body.innerHTML = '<b>x</b>'; return 'let in'}"
        " catch (error) {return error.name}})()"
    )
    assert outcome == "TypeError"  # Trusted Types
    outcome = page.evaluate(
        "(() => {try {trustedTypes.createPolicy('mine', {createHTML: (text) => text}); return 'made'}"
        " catch (error) {return error.name}})()"
    )
    assert outcome == "TypeError"
    page.problems.clear()


@requirement("traces.links")
def test_links_open_the_span_that_they_name_and_lead_back(backend: Backend, page: Page) -> None:
    asked, went_on = new_id(16), new_id(16)
    question = span(asked, "question", parent=span(asked))
    root = span(asked, "asking", span_id=question.parent_span_id)
    answer = span(went_on, "answer", start=100, links=(question,))
    backend.send(root, question, answer)
    page.open(f"{backend.url}/#/trace/{went_on.hex()}?span={answer.span_id.hex()}")
    page.click(".panel li a")
    page.wait_for(f"document.querySelector('.panel h2')?.textContent === 'question' && {ACTIVE}")
    assert page.evaluate(ACTIVE) == "question"
    page.click(".head .sub a")
    page.wait_for("document.querySelector('.panel h2')?.textContent === 'answer'")


@requirement("traces.stitch")
def test_a_trace_that_does_not_stitch_says_which_edge(backend: Backend, page: Page) -> None:
    trace = new_id(16)
    lost = new_id(8)
    backend.send(span(trace, "root"), span(trace, "stray", start=2, parent=lost))
    page.open(f"{backend.url}/#/trace/{trace.hex()}")
    # For ten seconds its parent may yet come.
    page.wait_for("document.querySelector('.head .badge')?.textContent === 'arriving'")
    page.wait_for("!document.querySelector('.problems').hidden")
    told = page.evaluate("document.querySelector('.problems').textContent")
    assert f"the parent of stray of svc, {lost.hex()}, has not come" in told
    page.click(".problems button")
    page.wait_for(f"{ACTIVE} === 'stray'")


@requirement("traces.json")
def test_a_copied_trace_is_otlp(backend: Backend, page: Page) -> None:
    trace = tree(backend)
    page.open(f"{backend.url}/#/trace/{trace}")
    page.wait_for(f"{NAMES}.length === 5")
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value:"
        " {writeText: async (text) => {window.copied = text}}})"
    )
    page.evaluate(
        "[...document.querySelectorAll('button')].find((b) => b.textContent.includes('JSON')).click()"
    )
    copied = json.loads(page.wait_for("window.copied"))
    assert copied == backend.get(f"traces/{trace}/otlp")


def test_a_session_that_nobody_may_see_is_found_by_its_id(backend: Backend, page: Page) -> None:
    session = "secret-session"
    backend.send(span(new_id(16), "mine", mcp__session__id=session_digest(session)))
    page.open(f"{backend.url}/#/?session={session}")
    page.wait_for(f"{ROWS}.length === 1")


@requirement("traces.live")
@pytest.mark.parametrize(("view", "oldest_first"), [("", False), ("session/", True)])
def test_traces_take_their_place_in_whichever_order_they_come(
    tmp_path: Path, page: Page, view: str, oldest_first: bool
) -> None:
    session = session_digest("mine")
    names = f"[...{ROWS}].sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)"
    names += ".map((row) => row.querySelector('.title a').textContent).join(' ')"
    with running_backend(tmp_path) as backend:
        page.open(f"{backend.url}/#/{view}{session if view else ''}")
        page.wait_for("document.querySelector('.live.on')")
        come: list[str] = []
        roots = [
            span(new_id(16), f"at-{place}", start=place, mcp__session__id=session)
            for place in (3, 1, 5, 2, 4)
        ]
        for root in roots:
            backend.send(root)
            come = sorted([*come, root.name], reverse=not oldest_first)
            page.wait_for(f"{names} === '{' '.join(come)}'")
        # What comes later of a trace leaves it where it is.
        backend.send(*(span(root.trace_id, parent=root, start=7) for root in roots))
        spans = f"[...{ROWS}].map((row) => row.children[4].textContent).join('')"
        page.wait_for(f"{spans} === '22222'")
        assert page.evaluate(names) == " ".join(come)
        page.open("about:blank")  # before the backend goes


@requirement("traces.sessions")
def test_a_session_is_chosen_from_the_list_of_sessions(tmp_path: Path, page: Page) -> None:
    def call(session: str, start: float, error: str | None = None, failure: str = "") -> None:
        backend.send(
            span(
                new_id(16),
                start=start,
                took=5,
                error=error,
                error__type=failure,
                mcp__session__id=session_digest(session),
            )
        )

    shown = (
        f"[...{ROWS}].map((row) => [...row.children].slice(1, 4).map((each) => each.textContent))"
    )
    one, two = session_digest("one"), session_digest("two")
    with running_backend(tmp_path) as backend:
        call("one", 0, error="no")
        call("one", 10, failure="404")
        call("two", 20)
        page.open(backend.url)
        page.wait_for(f"{ROWS}.length === 3")  # by then nothing moves any more that is clicked
        page.click(".top nav a[href='#/sessions']")
        page.wait_for("document.title.startsWith('Sessions')")
        page.wait_for("document.querySelector('.live.on')")
        page.wait_for(f"{ROWS}.length === 2")
        assert page.evaluate(shown) == [[two, "1", "-"], [one, "2", "1 ✕ 1 !"]]
        # What comes moves its session to the top; the one that was chosen stays so.
        page.press("ArrowDown")
        call("three", 30)
        page.wait_for(f"{ROWS}.length === 3")
        call("one", 40)
        page.wait_for(f"JSON.stringify({shown}[0]) === JSON.stringify(['{one}', '3', '1 ✕ 1 !'])")
        assert page.evaluate("document.querySelector('.rows .active a').textContent") == one
        page.press("Enter")
        page.wait_for("document.body.innerText.includes('3 requests, the oldest first')")
        assert page.evaluate("location.hash") == f"#/session/{one}"
        page.press("Escape")
        page.wait_for("location.hash === '#/sessions'")
        page.wait_for(f"{ROWS}.length === 3")
        page.look(width=360, height=700)
        page.wait_for("document.body.innerText.includes('3 requests')")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.open("about:blank")  # before the backend goes


def test_no_sessions_are_said_to_be_none(tmp_path: Path, page: Page) -> None:
    with running_backend(tmp_path) as backend:
        backend.send(span(new_id(16), "of no session"))
        page.open(f"{backend.url}/#/sessions")
        page.wait_for("document.querySelector('.note')?.innerText.includes('No sessions yet')")
        page.open("about:blank")


@requirement("traces.looks")
def test_on_a_phone_nothing_sticks_out_and_a_tap_opens_the_details(
    backend: Backend, page: Page
) -> None:
    page.look(width=360, height=700)
    page.open(f"{backend.url}/#/trace/{tree(backend)}")
    page.wait_for(f"{NAMES}.length === 5")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.click(".span.error")
    page.wait_for(f"{PANEL}?.querySelector('details')")
    assert page.evaluate(f"{PANEL}.getBoundingClientRect().width") == 360
    page.click(".panel header button")
    page.open(f"{backend.url}/#/")
    page.wait_for("document.querySelector('.search')")
    page.wait_for(f"{ROWS}.length > 0")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@requirement("traces.many")
def test_of_two_thousand_spans_only_those_in_sight_are_elements(
    backend: Backend, page: Page
) -> None:
    trace = new_id(16)
    root = span(trace, "root", took=2000)
    backend.send(root, *(span(trace, f"step {i}", parent=root, start=i) for i in range(1999)))
    page.open(f"{backend.url}/#/trace/{trace.hex()}")
    page.wait_for(f"{NAMES}.length > 5")
    assert page.evaluate(f"{ROWS}.length") < 60
    assert page.evaluate(COUNTED) == 2000
    page.press("End")
    page.wait_for(f"{ACTIVE} === 'step 1998'")
    assert page.evaluate(f"{ROWS}.length") < 60


@requirement("traces.many")
def test_a_list_of_twenty_thousand_spans_is_walked_to_its_end(tmp_path: Path, page: Page) -> None:
    with running_backend(tmp_path) as backend:
        for part in range(8):
            traces = [(new_id(16), part * 250 + at) for at in range(250)]
            spans = [
                each
                for trace, at in traces
                for root in [span(trace, f"trace {at}", start=at)]
                for each in [root, *(span(trace, parent=root, start=at) for _ in range(9))]
            ]
            assert backend.send(*spans).status == 200
        page.open(backend.url)
        page.wait_for(
            "document.querySelector('.totals')?.textContent === '2,000 traces, 20,000 spans'"
        )
        page.wait_for(f"{ROWS}.length > 5")
        assert page.evaluate(COUNTED) == 200
        most = page.wait_for(
            f"(() => {{window.most = Math.max(window.most ?? 0, {ROWS}.length);"
            " document.querySelector('.rows').scrollTop = 1e9;"
            " return document.body.innerText.includes('trace 0') && window.most})()"
        )
        assert most < 60
        assert page.evaluate(COUNTED) == 2000
        page.open("about:blank")  # before the backend goes


def test_a_trace_that_is_not_there_is_answered_with_similar_ones(
    backend: Backend, page: Page
) -> None:
    trace = tree(backend)
    wrong = trace[:-1] + ("0" if trace[-1] != "0" else "1")
    page.open(f"{backend.url}/#/trace/{wrong}")
    page.click(f"a[href='#/trace/{trace}']")
    page.wait_for(f"{NAMES}.length === 5")
    page.problems.clear()  # the browser itself complains of a 404


@requirement("traces.live")
def test_an_empty_backend_says_how_to_fill_it(tmp_path: Path, page: Page) -> None:
    with running_backend(tmp_path) as backend:
        page.open(backend.url)
        page.wait_for("document.querySelector('.note:not([hidden])')")
        words = page.evaluate("document.querySelector('.note').innerText")
        assert f"OTEL_EXPORTER_OTLP_ENDPOINT={backend.url}" in words
        backend.send(span(new_id(16), "first"))
        page.wait_for(f"{ROWS}.length === 1")
        page.open("about:blank")  # before the backend goes


def test_the_screenshots_of_the_documentation_can_be_made_and_are_small(tmp_path: Path) -> None:
    for made in take(tmp_path, tmp_path / "profile", tmp_path / "data"):
        image = made.read_bytes()
        assert image.startswith(b"\x89PNG")
        assert len(image) < MAX_BYTES
