"""What a request has changed: on record with its answer, and nothing of one that failed."""

import asyncio
import dataclasses
from pathlib import Path

import pytest
from tests.unit.session.session_servers import ADA, INITIALIZE, Fleet, SessionServer, run

from linkspan_contract.envelope import JsonObject, Request
from linkspan_session.answers import CANCELLED, Answer, Result
from linkspan_session.errors import StoreUnavailableError
from linkspan_session.kernel import handshake_of
from linkspan_session.live import LiveSession
from linkspan_session.settling import Settled, SettledHandshake, preferences_after
from linkspan_session.storage.handler import HandlerStorage
from linkspan_session.storage.values import encode
from linkspan_session.store import Closed, Preferences, SessionId

S = SessionId("s")
DONE = Result({})


def set_level(level: str) -> Request:
    return Request(1, "logging/setLevel", {"level": level})


def subscribe(uri: str) -> Request:
    return Request(1, "resources/subscribe", {"uri": uri})


def unsubscribe(uri: str) -> Request:
    return Request(1, "resources/unsubscribe", {"uri": uri})


class Settling:
    """A request whose handler is over."""

    def __init__(self, live: LiveSession, request: Request) -> None:
        self.live = live
        self.storage = HandlerStorage(live.data)
        self.settled = Settled(live, request, self.storage)

    async def end(self, answer: Answer = DONE) -> None:
        """Put on record what it changed, as `calls` does."""
        try:
            changes = await self.settled.changes(answer)
            if changes is not None:
                await self.live.journal.commit(changes)
                self.settled.committed()
        finally:
            self.settled.over()


async def on_record(server: SessionServer) -> Preferences:
    return (await server.seen("s")).record.preferences


# --- what a request asks for ---------------------------------------------------------------------

BEFORE = Preferences("info", ("a:", "b:"), '{"k":1}')


@pytest.mark.parametrize(
    ("request_", "after"),
    [
        (set_level("debug"), Preferences("debug", ("a:", "b:"), '{"k":1}')),
        (subscribe("c:"), Preferences("info", ("a:", "b:", "c:"), '{"k":1}')),
        (subscribe("a:"), Preferences("info", ("b:", "a:"), '{"k":1}')),
        (unsubscribe("a:"), Preferences("info", ("b:",), '{"k":1}')),
        (unsubscribe("c:"), BEFORE),
        (subscribe("x" * 2048), Preferences("info", ("a:", "b:", "x" * 2048), '{"k":1}')),
        (subscribe("x" * 2049), BEFORE),
        (Request(1, "logging/setLevel", None), BEFORE),
        (Request(1, "logging/setLevel", {"level": 3}), BEFORE),
        (Request(1, "resources/subscribe", {"uri": None}), BEFORE),
        (Request(1, "tools/call", {"level": "debug", "uri": "c:"}), BEFORE),
    ],
)
def test_a_request_changes_what_it_asks_for(request_: Request, after: Preferences) -> None:
    assert preferences_after(BEFORE, request_) == after


def test_so_many_subscriptions_are_remembered_and_no_more() -> None:
    full = Preferences(subscriptions=tuple(f"{number}:" for number in range(1000)))
    assert preferences_after(full, subscribe("more:")) == full
    again = preferences_after(full, subscribe("0:"))
    assert again.subscriptions == (*full.subscriptions[1:], "0:")


# --- on record -----------------------------------------------------------------------------------


def test_what_a_request_changed_is_on_record_together(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        settling = Settling(live, set_level("debug"))
        await settling.storage.put("key", "value")
        live.connection.state["seen"] = 1
        before = (await here.seen("s")).record.version
        await settling.end()
        record = (await here.seen("s")).record
        assert record.version == before + 1
        assert record.preferences == Preferences("debug", (), '{"seen": 1}')
        assert record.preferences == live.record.preferences
        assert await here.store.read_storage(S) == {"key": encode("value")}

    run(tmp_path, scenario)


def test_a_request_that_changed_nothing_costs_no_commit(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        await Settling(live, set_level("debug")).end()
        before = (await here.seen("s")).record
        for request in (set_level("debug"), Request(1, "tools/list", None)):
            assert await Settling(live, request).settled.changes(DONE) is None
        assert (await here.seen("s")).record == before

    run(tmp_path, scenario)


@pytest.mark.parametrize("answer", [CANCELLED, Result({"isError": True})])
def test_a_request_that_failed_changes_nothing(tmp_path: Path, answer: Answer) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        settling = Settling(live, set_level("debug"))
        await settling.storage.put("key", "value")
        before = (await here.seen("s")).record
        await settling.end(answer)
        assert (await here.seen("s")).record == before
        assert live.record.preferences == Preferences()
        assert await here.store.read_storage(S) == {}
        other = HandlerStorage(live.data)
        assert await other.get("key") is None

    run(tmp_path, scenario)


def test_requests_that_end_at_once_forget_nothing_of_each_other(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        requests = [set_level("debug"), *(subscribe(f"{number}:") for number in range(5))]
        plain = Settling(live, Request(1, "tools/call", None))  # began before all of them
        await asyncio.gather(*(Settling(live, each).end() for each in requests))
        await plain.end()
        wanted = Preferences("debug", tuple(f"{number}:" for number in range(5)))
        assert await on_record(here) == live.record.preferences == wanted

    run(tmp_path, scenario)


def test_what_could_not_be_written_is_written_with_the_next_answer(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        settling = Settling(live, set_level("debug"))
        await settling.storage.put("key", "value")
        fleet.backend.take_away()
        with pytest.raises(StoreUnavailableError):
            await settling.end()
        fleet.backend.bring_back()
        assert await on_record(here) == Preferences()
        assert await HandlerStorage(live.data).get("key") is None
        await Settling(live, set_level("debug")).end()  # its client asks again
        assert (await on_record(here)).log_level == "debug"

    run(tmp_path, scenario)


def test_what_was_written_without_a_word_is_seen_by_the_next_request(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        settling = Settling(live, set_level("debug"))
        await settling.storage.put("key", "value")
        gate = here.store.hold_after("commit")
        ending = asyncio.create_task(settling.end())
        await gate.arrived.wait()
        ending.cancel()
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert await HandlerStorage(live.data).get("key") == "value"

    run(tmp_path, scenario)


# --- handshakes ----------------------------------------------------------------------------------


async def greeted(fleet: Fleet) -> tuple[SessionServer, LiveSession, SettledHandshake]:
    """Start a server with a session that has not said hello yet."""
    here = await fleet.start("here")
    await here.sessions.create(S, ADA, "")
    live = here.live("s")
    live.initializing = True
    storage = HandlerStorage(live.data)
    return here, live, SettledHandshake(live, storage, 99_000_000_000_000, here.sessions.end)


def test_a_handshake_is_on_record_before_it_is_answered(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, live, settled = await greeted(fleet)
        answer = await here.ask(live, "initialize", INITIALIZE)
        assert isinstance(answer, Result)
        changes = await settled.changes(answer)
        assert changes is not None
        assert live.record.handshake is None
        await live.journal.commit(changes)
        settled.committed()
        settled.over()
        record = (await here.seen("s")).record
        assert record.handshake == handshake_of(live.connection)
        assert record.expires_millis == 99_000_000_000_000
        assert live.record == dataclasses.replace(record, version=live.record.version)
        assert not live.initializing

    run(tmp_path, scenario)


@pytest.mark.parametrize("params", [{}, None])
def test_a_session_whose_handshake_failed_is_ended(
    tmp_path: Path, params: JsonObject | None
) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, live, settled = await greeted(fleet)
        answer = CANCELLED if params is None else await here.ask(live, "initialize", params)
        assert not isinstance(answer, Result)
        assert await settled.changes(CANCELLED) is None
        settled.over()
        assert live.ended
        assert (await here.seen("s")).record.closed is Closed.ENDED

    run(tmp_path, scenario)


def test_a_session_that_was_ended_during_its_handshake_is_ended_once(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, live, settled = await greeted(fleet)
        await here.sessions.end(live)
        assert await settled.changes(CANCELLED) is None
        settled.over()
        assert (await here.seen("s")).record.closed is Closed.ENDED

    run(tmp_path, scenario)
