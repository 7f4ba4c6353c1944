"""The screenshots of `docs/traces.md`: `python -m tests.traces.screenshots docs/images`.

People look at them, and nothing compares them; a test holds that they can be made and are small.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.traces.backend import MILLI, Backend, new_id, pair, running_backend, span
from tests.traces.chromium import Page, chromium_page

from linkspan_contract.session_digest import session_digest

MAX_BYTES: Final = 150_000

_TOOLS: Final = ("weather", "add", "search_documents", "echo", "weather", "book_room")
_READY: Final = "document.querySelector('.live.on') && document.querySelector('.rows [role=row]')"


def take(folder: Path, profile: Path, data: Path) -> list[Path]:
    """Make the screenshots.

    Args:
        folder: Where they go.
        profile: A folder for the browser's profile.
        data: A folder for the backend.

    Returns:
        Their paths.
    """
    taken: list[Path] = []
    with running_backend(data) as backend, chromium_page(profile) as page:
        failing, session = _fill(backend)
        for name, path, width, height, dark, keys in (
            ("traces-list", "#/", 1180, 520, False, ()),
            ("traces-waterfall", f"#/trace/{failing}", 1180, 560, False, _OPEN),
            ("traces-waterfall-dark", f"#/trace/{failing}", 1180, 560, True, _OPEN),
            ("traces-sessions", "#/sessions", 1180, 330, False, ()),
            ("traces-session-dark", f"#/session/{session}", 1180, 420, True, ()),
            ("traces-narrow", f"#/trace/{failing}", 390, 720, False, ()),
        ):
            page.look(width=width, height=height, dark=dark)
            page.open("about:blank")
            page.open(f"{backend.url}/{path}")
            page.wait_for(_READY)
            taken.append(_shoot(page, folder / f"{name}.png", keys))
    return taken


_OPEN: Final = ("ArrowDown", "ArrowDown", "Enter")


def _shoot(page: Page, path: Path, keys: Sequence[str]) -> Path:
    page.press(*keys)
    if keys:
        page.wait_for("document.querySelector('.panel details')")
        page.press("Tab")  # the ring around the heading is for keyboards
        page.evaluate("document.activeElement.blur()")
    page.evaluate("new Promise(requestAnimationFrame)")
    page.screenshot(path)
    return path


def _fill(backend: Backend) -> tuple[str, str]:
    """Send some calls; returns the id of one that failed, and the session."""
    session, failing = "5f2c9d01b7e34a68", ""
    for place in range(14):
        tool = _TOOLS[place % len(_TOOLS)]
        fails = place == 10
        trace = _call(backend, tool, place * 700.0, 40 + 37 * (place % 7), session, fails=fails)
        failing = trace if fails else failing
    # Of other clients, before those that the list shows.
    for place in range(4):
        for call in range(1 + place * 2 % 5):
            at, fails = -9000.0 + 2000 * place + 300 * call, place == 2 and call == 1
            _call(backend, _TOOLS[1 + call % 3], at, 25, session_digest(str(place)), fails=fails)
    lost = new_id(16)
    backend.send(
        span(
            lost, "McpSession.handleRequest", kind="SERVER", start=9900, took=12, parent=new_id(8)
        ),
        service="linkspan-session",
    )
    return failing, session


def _call(backend: Backend, tool: str, at: float, took: float, session: str, *, fails: bool) -> str:
    trace = new_id(16)
    root = span(
        trace,
        "mcp.request",
        kind="SERVER",
        start=at,
        took=took + 14,
        mcp__session__id=session,
        mcp__method__name="tools/call",
        mcp__tool__name=tool,
        http__response__status_code=200,
    )
    handle = span(
        trace,
        "McpSession.handleRequest",
        parent=root,
        kind="SERVER",
        start=at + 4,
        took=took + 7,
    )
    words = "no such city: Atlantis"
    work = span(
        trace,
        f"tools/call {tool}",
        parent=handle,
        kind="SERVER",
        start=at + 6,
        took=took + 3,
        error=words if fails else None,
        gen_ai__tool__name=tool,
        mcp__method__name="tools/call",
    )
    if fails:
        event = work.events.add(name="exception", time_unix_nano=work.end_time_unix_nano - MILLI)
        event.attributes.extend(
            [pair("exception.type", "ValueError"), pair("exception.message", words)]
        )
    inner = _upstream(trace, work, at + 9, took) if tool in ("weather", "book_room", "echo") else []
    backend.send(root, service="linkspan-worker")
    backend.send(handle, work, *inner[:1], service="linkspan-session")
    if inner:
        backend.send(*inner[1:], service="weather-api")
    return trace.hex()


def _upstream(trace: bytes, parent: Span, at: float, took: float) -> list[Span]:
    get = span(trace, "GET", parent=parent, kind="CLIENT", start=at, took=took * 0.7)
    serve = span(
        trace,
        "GET /v1/weather",
        parent=get,
        kind="SERVER",
        start=at + took * 0.12,
        took=took * 0.5,
    )
    select = span(
        trace,
        "SELECT forecasts",
        parent=serve,
        kind="CLIENT",
        start=at + took * 0.16,
        took=took * 0.4,
        db__system__name="postgresql",
    )
    return [get, serve, select]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        for made in take(Path(sys.argv[1]), Path(scratch) / "profile", Path(scratch) / "data"):
            print(made)
