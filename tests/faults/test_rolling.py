"""Rolling restarts under load: of session servers nobody notices, of workers nothing is lost."""

import signal
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.faults.scene import LOST, Scene, ask, error_of, result_of, scene
from tests.faults.stores import KINDS, store_of
from tests.requirements import requirement
from tests.support.mcp_http import HttpSession, SseEvent, call
from tests.support.waiting import BUSY_SECONDS, PATIENCE_SECONDS, wait_until

CLIENTS: Final = 16
LISTENERS: Final = 3

PROMPT_SECONDS: Final = 5.0 + BUSY_SECONDS

DRAIN: Final = ("--drain-timeout", "90")
"""Longer than a test waits for the end of a process: servers end because nothing is left to do."""

pytestmark = pytest.mark.timeout(180)  # so many processes start, one after the other

AMPLE: Final = {"OTEL_BSP_MAX_QUEUE_SIZE": "100000"}
"""Has no span dropped because a busy machine exports slowly: each request is looked at."""


@dataclass(slots=True)
class Tally:
    """What one client has had so far.

    Attributes:
        count: How many increments were acknowledged.
        rounds: How many rounds it has made.
        unknown: How many increments may have happened or not.
        heard: What it has heard on its listening stream.
    """

    count: int = 0
    rounds: int = 0
    unknown: int = 0
    heard: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Load:
    """Clients that do something all the time, each in a session of its own."""

    played: Scene
    addresses: tuple[str, ...]
    enough: threading.Event = field(default_factory=threading.Event)
    tallies: list[Tally] = field(default_factory=list[Tally])
    running: list["Future[None]"] = field(default_factory=list["Future[None]"])

    def start(self, client: "Client") -> None:
        """Start a client."""
        self.tallies.append(tally := Tally())
        self.running.append(self.played.threads.submit(client, self, tally))

    def wait_rounds(self, rounds: int = 1) -> None:
        """Wait until every client has made some more rounds."""
        before = [each.rounds for each in self.tallies]

        def all_went_on() -> bool:
            self.check_running()
            now = [each.rounds for each in self.tallies]
            return all(late >= early + rounds for early, late in zip(before, now, strict=True))

        wait_until(all_went_on, "all clients to go on", seconds=60)

    def check_running(self) -> None:
        """Fail the test if a client has failed."""
        for each in self.running:
            if each.done():
                each.result()

    def stop(self) -> None:
        """Have all clients end, and fail the test if one has failed."""
        self.enough.set()
        for each in self.running:
            each.result(timeout=PATIENCE_SECONDS)


class Client:
    """What a client does until it is enough."""

    def __call__(self, load: Load, tally: Tally) -> None:
        with load.played.session(load.addresses[0]) as session:
            while not load.enough.is_set():
                self.round(session, tally)
                tally.rounds += 1
            assert ask(session, "read")["stored"].get("count", 0) == tally.count

    def round(self, session: HttpSession, tally: Tally) -> None:
        raise NotImplementedError


class Counter(Client):
    """Counts, reads and rests a little."""

    def round(self, session: HttpSession, tally: Tally) -> None:
        tally.count += 1
        assert ask(session, "increment")["count"] == tally.count
        assert ask(session, "read")["stored"] == {"count": tally.count}
        ask(session, "rest", {"seconds": 1.0})


class SlowCounter(Client):
    """Counts, and takes longer for it than a server that only hangs up would wait."""

    def round(self, session: HttpSession, tally: Tally) -> None:
        tally.count += 1
        assert ask(session, "increment_slowly", {"seconds": 2.0})["count"] == tally.count


class Listener(Client):
    """Counts aloud, and listens to it on one stream all the time."""

    def __call__(self, load: Load, tally: Tally) -> None:
        with load.played.session(load.addresses[0]) as session, session.listen() as events:
            next(events)
            while not load.enough.is_set():
                tally.rounds += 1
                ask(session, "announce", {"uri": f"test://{tally.rounds}"})
                heard = next(event for event in events if event.data)
                tally.heard.append(heard.json["params"]["uri"])
                ask(session, "rest", {"seconds": 0.5})
        assert tally.heard == [f"test://{number + 1}" for number in range(tally.rounds)]


@requirement("session.rolling")
@pytest.mark.parametrize("kind", KINDS)
def test_a_rolling_restart_of_all_session_servers_under_load_is_noticed_by_nobody(
    tmp_path: Path, kind: str
) -> None:
    with (
        store_of(kind, tmp_path) as store,
        scene(store, tmp_path, servers=3, session_arguments=DRAIN, env=AMPLE) as played,
    ):
        load = Load(played, (played.fleet.add_worker(),))
        for number in range(CLIENTS):
            if number < LISTENERS:
                load.start(Listener())
            else:
                load.start(SlowCounter() if number % 4 == 0 else Counter())
        for server in played.fleet.servers:
            load.wait_rounds()
            server.process.signal(signal.SIGTERM)
            assert server.process.wait() == 0, server.process.errors
            played.fleet.restart(server)
        load.wait_rounds(2)
        load.stop()


class RoamingCounter(Client):
    """Counts through one worker after the other, as a load balancer would have it.

    What a worker that goes away has not answered it does not ask for again.
    """

    def __call__(self, load: Load, tally: Tally) -> None:
        with load.played.session(load.addresses[0]) as session:
            while not load.enough.is_set():
                session.address = load.addresses[tally.rounds % len(load.addresses)]
                self._count(load.played, session, tally)
                tally.rounds += 1
            session.address = load.addresses[0]
            stored: int = ask(session, "read")["stored"].get("count", 0)
            assert tally.count <= stored <= tally.count + tally.unknown

    @staticmethod
    def _count(played: Scene, session: HttpSession, tally: Tally) -> None:
        before = tally.count + tally.unknown
        slowly = {"seconds": 0.2}
        try:
            response = session.post(call("increment_slowly", slowly), connection="close")
        except httpx2.TransportError as error:
            played.never_heard(error)
            if not isinstance(error, httpx2.ConnectError):
                tally.unknown += 1
            return
        tally.count += 1
        assert result_of(response)["count"] <= before + 1


@requirement("session.rolling")
def test_a_rolling_restart_of_workers_under_load_loses_nothing(tmp_path: Path) -> None:
    with (
        store_of("sqlite", tmp_path) as store,
        scene(store, tmp_path, env=AMPLE) as played,
    ):
        addresses = played.fleet.add_worker(), played.fleet.add_worker()
        load = Load(played, addresses)
        for _ in range(CLIENTS):
            load.start(RoamingCounter())
        with played.session(addresses[0]) as session:
            with session.listen() as events:
                last = next(events)
            for stays, goes in (addresses, reversed(addresses)):
                load.wait_rounds()
                last = restart_worker(played, session, last, goes=goes, stays=stays)
            load.wait_rounds()
            load.stop()
        assert sum(tally.count for tally in load.tallies) > 0


def restart_worker(
    played: Scene, session: HttpSession, last: SseEvent, *, goes: str, stays: str
) -> SseEvent:
    """Restart a worker while a client listens through it, and let that go on through the other.

    Args:
        played: The scene.
        session: The client that listens.
        last: The last event that it has seen.
        goes: The worker's address.
        stays: The address of the other worker.

    Returns:
        The last event that the client has seen now.
    """
    worker = played.worker(goes)
    session.address = goes
    with session.listen(last.id) as events:
        announce(session, stays, "test://before")
        heard = [next(event for event in events if event.data)]
        worker.signal(signal.SIGTERM)
        assert [event for event in events if event.data] == []
    announce(session, stays, "test://meanwhile")
    assert worker.wait() == 0
    assert played.fleet.add_worker("--port", str(urlsplit(goes).port)) == goes
    session.address = stays
    with session.listen(heard[0].id) as events:
        heard.append(next(event for event in events if event.data))
    said = [event.json["params"]["uri"] for event in heard]
    assert said == ["test://before", "test://meanwhile"]
    return heard[-1]


def announce(session: HttpSession, address: str, uri: str) -> None:
    """Have something said outside of any call, through another worker than the listening one."""
    other = HttpSession(session.http, address, session.session_id, session.version)
    ask(other, "announce", {"uri": uri})


@requirement("session.drain")
def test_what_outlasts_a_drain_runs_again_elsewhere_if_harmless_and_ends_in_one_error_if_not(
    tmp_path: Path,
) -> None:
    short = ("--drain-timeout", "0.5")
    with (
        store_of("sqlite", tmp_path) as store,
        scene(store, tmp_path, session_arguments=short) as played,
    ):
        worker = played.fleet.add_worker()
        with played.session(worker) as session:
            plain = played.post_later(session, "work", {"name": "plain"})
            harmless = played.post_later(session, "look", {"name": "harmless"})
            old = played.wait_begun("harmless")
            assert played.wait_begun("plain") == old
            server = played.server(old).process
            server.signal(signal.SIGTERM)
            heir = played.wait_begun("harmless", times=2)
            assert heir != old
            assert server.wait() == 0
            assert error_of(plain.result(PROMPT_SECONDS)) == LOST
            played.let_go("harmless")
            assert result_of(harmless.result(PROMPT_SECONDS)) == {"pid": heir}
            assert played.runs("plain") == [old]
