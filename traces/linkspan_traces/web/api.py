"""The JSON API: what the page and `linkspan traces` ask for.

GET /api/traces                     a page of traces; see `store.filters.read_search` for the parameters
GET /api/traces/ID                  one, as a waterfall; ID may be how it begins
GET /api/traces/ID/otlp             the same as an OTLP/JSON export request
GET /api/traces/ID/spans/SPAN_ID    all that one span says
GET /api/sessions                   a page of sessions, the last active first; `limit` and `cursor`
GET /api/values                     the services, methods and tools there are
GET /api/status                     how many traces there are, and what was refused
GET /api/tail                       an event stream of traces as they come, with the same parameters

An error is `{"error": ...}` with one sentence, and ids to choose from where there are any. The
session of a search may be an id or its digest; answers hold digests only.
"""

import asyncio
import re
import time
from http import HTTPStatus
from typing import Final

from linkspan_traces.analysis.tree import BROKEN, WHOLE
from linkspan_traces.analysis.waterfall import waterfall
from linkspan_traces.errors import (
    AmbiguousTraceError,
    BadRequestError,
    BusyError,
    StoreError,
    UnknownTraceError,
)
from linkspan_traces.intake import Intake
from linkspan_traces.live import Live, Watcher
from linkspan_traces.model import JsonObject
from linkspan_traces.session_names import digest_of
from linkspan_traces.store.database import Database
from linkspan_traces.store.filters import Search, read_search
from linkspan_traces.store.reading import (
    Page,
    find_trace,
    incoming_links,
    known_values,
    list_traces,
    span_details,
    spans_of_trace,
    totals,
    trace_as_otlp,
)
from linkspan_traces.store.rows import SETTLED_AFTER_MILLIS
from linkspan_traces.store.sessions import list_sessions, read_session_search
from linkspan_traces.web.exchange import Exchange

API_PATH: Final = "/api/"

_TRACE: Final = re.compile(r"traces/([0-9A-Fa-f]{1,32})(?:/(otlp)|/spans/([0-9A-Fa-f]{16}))?")

_COMMENT_EVERY_SECONDS: Final = 15.0
_PAUSE_SECONDS: Final = 0.25
"""How often a watcher is told at most, so that a trace that grows span by span is told once."""

_SETTLED_SECONDS: Final = {WHOLE: 0.0, BROKEN: SETTLED_AFTER_MILLIS / 1000}
_OUTSIDE_SECONDS: Final = 2.0
"""How long a trace may wait for its caller's span before those who want settled ones are told."""


class Api:
    """The endpoints."""

    def __init__(self, database: Database, intake: Intake, live: Live) -> None:
        self._database = database
        self._intake = intake
        self._live = live
        self._ending = asyncio.Event()

    def drain(self) -> None:
        """End the event streams, which would not end by themselves."""
        self._ending.set()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request below `API_PATH`."""
        if exchange.method not in ("GET", "HEAD"):
            await exchange.json(
                HTTPStatus.METHOD_NOT_ALLOWED, {"error": "use GET"}, {"allow": "GET, HEAD"}
            )
            return
        path = exchange.path.removeprefix(API_PATH)
        try:
            if path == "tail":
                await self._tail(exchange)
                return
            answer = await self._answer(path, exchange)
        except BadRequestError as error:
            await exchange.json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except UnknownTraceError as error:
            await exchange.json(
                HTTPStatus.NOT_FOUND, {"error": "there is no such trace", "similar": error.similar}
            )
        except AmbiguousTraceError as error:
            await exchange.json(
                HTTPStatus.CONFLICT,
                {"error": "several traces begin so", "candidates": error.candidates},
            )
        except (StoreError, BusyError) as error:
            await exchange.json(HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)})
        else:
            if answer is None:
                await exchange.json(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})
            else:
                await exchange.json(HTTPStatus.OK, answer)

    async def _answer(self, path: str, exchange: Exchange) -> JsonObject | None:
        match path:
            case "traces":
                words = exchange.query()
                search = read_search(words)
                page = await self._page(search)
                session = words.get("session", "").strip()
                return {
                    **_page_json(page),
                    # The page names the session that it shows, whichever way it was asked for.
                    "session": digest_of(session) if session else "",
                }
            case "sessions":
                wanted = read_session_search(exchange.query())
                found = await self._database.read(lambda db: list_sessions(db, wanted))
                return found.to_json()
            case "values":
                return await self._database.read(known_values)
            case "status":
                counted = await self._database.read(totals)
                return {
                    **counted,
                    "refused_requests": self._intake.refused_requests,
                    "rejected_spans": self._intake.rejected_spans,
                }
            case _:
                match = _TRACE.fullmatch(path)
                if match is None:
                    return None
                return await self._trace(match[1].lower(), match[2], (match[3] or "").lower())

    async def _page(self, search: Search, only: list[str] | None = None) -> Page:
        return await self._database.read(lambda connection: list_traces(connection, search, only))

    async def _trace(self, begin: str, form: str | None, span_id: str) -> JsonObject | None:
        found = await self._database.read(lambda connection: find_trace(connection, begin))
        trace_id = found.trace_id
        if form is not None:
            return await self._database.read(lambda db: trace_as_otlp(db, trace_id))
        if span_id:
            return await self._database.read(lambda db: span_details(db, trace_id, span_id))
        spans = await self._database.read(lambda db: spans_of_trace(db, trace_id))
        if not spans:
            raise UnknownTraceError(())  # it went between the two looks
        incoming = await self._database.read(lambda db: incoming_links(db, trace_id))
        # A large trace takes a while to put together; others are served meanwhile.
        drawn = await asyncio.to_thread(waterfall, spans)
        return {**found.to_json(_now_millis()), **drawn, "incoming": incoming}

    # --- as they come ----------------------------------------------------------------------------

    async def _tail(self, exchange: Exchange) -> None:
        words = exchange.query()
        settled = words.pop("settled", "") == "1"
        search = read_search({**words, "limit": "500", "cursor": ""})
        with self._live.watching() as watcher:
            await exchange.begin_events()
            telling = asyncio.create_task(self._tell(exchange, watcher, search, settled=settled))
            leaving = asyncio.create_task(exchange.gone())
            ending = asyncio.create_task(self._ending.wait())
            tasks: set[asyncio.Task[object]] = {telling, leaving, ending}
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        if self._ending.is_set():
            await exchange.end_events()

    async def _tell(
        self, exchange: Exchange, watcher: Watcher, search: Search, *, settled: bool
    ) -> None:
        spoken_at = time.monotonic()
        # A trace that has to settle changes nothing when it has; somebody has to look.
        patience = _PAUSE_SECONDS if settled else _COMMENT_EVERY_SECONDS
        while True:
            await watcher.wait(patience)
            changed, lost = watcher.take()
            if lost:
                await exchange.event("lost", {})
            if changed:
                page = await self._page(search, list(changed))
                for trace in page.traces:
                    quiet = changed[trace.trace_id]
                    if settled and quiet < _SETTLED_SECONDS.get(trace.stitch, _OUTSIDE_SECONDS):
                        watcher.put_back(trace.trace_id, quiet)
                        continue
                    spoken_at = time.monotonic()
                    await exchange.event("trace", trace.to_json(_now_millis()))
            if time.monotonic() - spoken_at >= _COMMENT_EVERY_SECONDS:
                spoken_at = time.monotonic()
                await exchange.comment()
            await asyncio.sleep(_PAUSE_SECONDS)


def _page_json(page: Page) -> dict[str, object]:
    now = _now_millis()
    return {
        "traces": [trace.to_json(now) for trace in page.traces],
        "next_cursor": page.next_cursor,
    }


def _now_millis() -> int:
    return round(time.time() * 1000)
