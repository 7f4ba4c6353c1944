"""Requests that are sent again: one of them runs at a time, and a try that fails leaves nothing."""

import asyncio
from pathlib import Path

import pytest
from tests.unit.session.exchanges import read_all
from tests.unit.session.session_servers import ADA, Fleet, Gate, run, until

from linkspan_contract.envelope import Request
from linkspan_session.errors import (
    EventUnknownError,
    SessionElsewhereError,
    StoreUnavailableError,
)
from linkspan_session.exchange import Exchange
from linkspan_session.live import LiveSession
from linkspan_session.requests import Attempt, Requests, Terms
from linkspan_session.store import Changes, EventRecord, SessionId
from linkspan_session.stream_ids import call_stream_record, event_id

KEY = "the-key-of-the-request"
REQUEST = Request(1, "tools/call", {"name": "look", "arguments": {}})
AGAIN = Attempt(KEY, begun_before=1)


class Desk:
    """A session in which a request began on another server, and is sent again to this one."""

    def __init__(self, requests: Requests, live: LiveSession) -> None:
        self.requests = requests
        self.live = live
        self.record = call_stream_record(SessionId("s"), 1, KEY, "", 0)

    async def answer(self, attempt: Attempt = AGAIN) -> Exchange:
        exchange = Exchange()
        terms = Terms(ADA, (), single_answer=False, timeout_seconds=10, attempt=attempt)
        await self.requests.answer(self.live, REQUEST, exchange, terms)
        return exchange


async def desk(fleet: Fleet) -> Desk:
    here = await fleet.start("here")
    live = await here.create("s")
    requests = Requests(
        here.hosted,
        here.tasks,
        task_runner=here.task_runner,
        max_in_flight=10,
        expires_millis=lambda _: fleet.clock.now_millis(),
        end_session=here.sessions.end,
    )
    made = Desk(requests, live)
    begun = EventRecord(made.record.stream_id, 1, b"", last=False)
    await live.journal.commit(Changes(streams=(made.record,), events=(begun,)))
    return made


async def told(exchange: Exchange) -> list[str]:
    return [event.WhichOneof("event") or "" for event in await read_all(exchange)]


def test_a_request_that_is_sent_again_several_times_at_once_runs_once(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        made = await desk(fleet)
        fleet.app.on_list, fleet.app.on_call = listing, calling = Gate(), Gate()
        tries = [asyncio.create_task(made.answer()) for _ in range(3)]
        await until(lambda: fleet.app.listed == 3, "all of them to ask whether it does harm")
        listing.opened.set()
        readers = await asyncio.gather(*tries)
        await calling.arrived.wait()
        calling.opened.set()
        answers = [await told(each) for each in readers]
        assert fleet.app.called == 1
        assert [each[-1] for each in answers if each].count("message") >= 1
        assert (await told(await made.answer()))[-1] == "message"  # from now on it is on record
        assert fleet.app.called == 1

    run(tmp_path, scenario)


def test_a_try_that_names_an_unknown_event_keeps_nobody_from_the_next(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        made = await desk(fleet)
        for seen in ("another.1", event_id(made.record.stream_id, 7)):
            with pytest.raises(EventUnknownError):
                await made.answer(Attempt(KEY, begun_before=1, seen_event_id=seen))
            assert made.live.stream_of(KEY) is None
        assert fleet.app.called == 0
        assert (await told(await made.answer()))[-1] == "message"
        assert fleet.app.called == 1

    run(tmp_path, scenario)


def test_a_try_that_could_not_read_the_record_keeps_nobody_from_the_next(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        made = await desk(fleet)
        take_up = made.live.take_up

        def take_away_and_up(record: object) -> object:
            fleet.backend.take_away()
            return take_up(made.record)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(made.live, "take_up", take_away_and_up)
            with pytest.raises(StoreUnavailableError):
                await made.answer()
        fleet.backend.bring_back()
        assert made.live.stream_of(KEY) is None
        assert (await told(await made.answer()))[-1] == "message"

    run(tmp_path, scenario)


def test_nothing_begins_in_a_session_that_is_ended_or_lost(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        made = await desk(fleet)
        made.live.end()
        for attempt in (AGAIN, Attempt("another-key")):
            with pytest.raises(SessionElsewhereError):
                await made.answer(attempt)
        assert fleet.app.called == 0

    run(tmp_path, scenario)
