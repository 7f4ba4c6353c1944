"""The way to a session server breaks while the server lives on: refused, silent, cut, half closed.

Session servers are reached through proxies, which is what they advertise; the store is reached by
all of them all the time. What clients are promised: an answer or one clear error in a bounded time,
16 seconds where a server is silent (3.5 s until that is noticed, 2 s of trying again, 1 s to look
whether the owner answers, 5 s to wait for the end of its lease, and the rest for the work itself).
"""

import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from tests.requirements import requirement
from tests.support.apps import APPS
from tests.support.fleet import Commit, Fleet, SessionServer, check_one_owner, running_fleet
from tests.support.load import counting_clients, is_clear_error, is_lost
from tests.support.peer import Answer, Peer, peer_of, session_at
from tests.support.proxy import BrokenNetworkProxy, running_proxy
from tests.support.waiting import BUSY_SECONDS, PATIENCE_SECONDS, wait_until

from linkspan_propagation.testing import OtlpReceiver, assert_one_trace, traces

WAITING: Final = str(APPS / "net_waiting.py") + ":mcp"
SILENT_SECONDS: Final = 16.0 + BUSY_SECONDS
PROMPT_SECONDS: Final = 10.0 + BUSY_SECONDS


class Network:
    """Session servers of a fleet, each behind a proxy of its own."""

    def __init__(self, fleet: Fleet, proxies: list[BrokenNetworkProxy]) -> None:
        self.fleet = fleet
        self.proxies = proxies
        targets = ",".join(proxy.address for proxy in proxies)
        self.worker = fleet.add_worker("--retry-for", "2", targets=targets)

    def commits_of(self, peer: Peer) -> list[Commit]:
        """Return the commits of a session."""
        assert peer.session_id is not None
        digest = hashlib.sha256(peer.session_id.encode()).hexdigest()[:16]
        return [each for each in self.fleet.commits() if each.session == digest]

    def owner_of(self, peer: Peer) -> int:
        """Return which server has made the newest commit of a session."""
        newest = max(self.commits_of(peer), key=lambda each: each.version)
        address = newest.owner.rpartition("#")[0]
        return [proxy.address for proxy in self.proxies].index(address)

    def proxy_of(self, peer: Peer) -> BrokenNetworkProxy:
        """Return the proxy before a session's owner."""
        return self.proxies[self.owner_of(peer)]

    def server_of(self, peer: Peer) -> SessionServer:
        """Return a session's owner."""
        return self.fleet.servers[self.owner_of(peer)]


@contextmanager
def running_network(
    folder: Path, *, servers: int = 2, receiver: OtlpReceiver | None = None
) -> Generator[Network]:
    """Run servers behind proxies until the block is left; then no session was owned twice."""
    store = f"sqlite:///{folder / 'sessions.db'}"
    with ExitStack() as stack:
        proxies = [stack.enter_context(running_proxy()) for _ in range(servers)]
        fleet = stack.enter_context(
            running_fleet(
                store,
                servers=0,
                app=WAITING,
                receiver=receiver,
                session_arguments=("--lease", "4", "--open-stream-after", "0.1"),
            )
        )
        for proxy in proxies:
            server = fleet.add_server("--advertise", proxy.address)
            proxy.upstream = int(server.address.rpartition(":")[2])
        network = Network(fleet, proxies)
        yield network
        check_one_owner(fleet.commits())


def count_of(peer: Peer) -> int:
    """Add one; return the count."""
    answer = peer.call("add_one")
    assert answer.status == 200, answer
    count: int = answer.result["structuredContent"]["result"]
    return count


def reads_count(peer: Peer) -> int:
    """Return the count, in time; harmless, so it is asked for again if it left too early to tell."""
    answer, seconds = timed(peer, "counts")
    assert seconds < PROMPT_SECONDS
    count: int = answer.result["structuredContent"]["count"]
    return count


def timed(peer: Peer, tool: str, **arguments: Any) -> tuple[Answer, float]:
    """Call a tool; return the answer and how long it took."""
    began = time.monotonic()
    answer = peer.call(tool, **arguments)
    return answer, time.monotonic() - began


def session_owned_by(network: Network, index: int, stack: ExitStack) -> Peer:
    """Open sessions until one is owned by a certain server, and return that."""
    while True:
        peer = stack.enter_context(session_at(network.worker))
        if network.owner_of(peer) == index:
            return peer


def end_of(network: Network) -> None:
    """Stop all processes, so that all their spans are there."""
    for process in [*network.fleet.workers, *(each.process for each in network.fleet.servers)]:
        assert process.stop() == 0, process.errors


# --- refused --------------------------------------------------------------------------------------


@requirement("session.network-cut", "session.one-owner")
def test_a_session_whose_owner_is_cut_off_goes_on_elsewhere_and_the_owner_lets_go_of_it(
    tmp_path: Path,
) -> None:
    with OtlpReceiver() as receiver, running_network(tmp_path, receiver=receiver) as network:
        with session_at(network.worker) as peer:
            assert count_of(peer) == 1
            old = network.owner_of(peer)
            server, proxy = network.fleet.servers[old], network.proxies[old]
            proxy.refuse()
            assert reads_count(peer) == 1
            assert count_of(peer) == 2
            assert network.owner_of(peer) != old
            # Who still reaches the old owner cannot write there, and is then sent to the new one. If
            # the old owner has renewed its lease meanwhile, it knows, and sends it there at once.
            around = network.fleet.add_worker(targets=server.address)
            with peer_of(around, session_id=peer.session_id) as stray:
                lost = is_lost(stray.call("add_one"))
                count = count_of(stray)
            assert count == (3 if lost else 4)
            assert any("refused session=" in line for line in server.log) == lost
            assert network.owner_of(peer) != old
            proxy.go_on()
            assert count_of(peer) == count + 1
        end_of(network)
        for spans in traces(receiver.spans()).values():
            assert_one_trace(spans)


def test_an_owner_that_was_passed_over_soon_stops_answering_from_memory(tmp_path: Path) -> None:
    with running_network(tmp_path) as network, session_at(network.worker) as peer:
        assert count_of(peer) == 1
        server, proxy = network.server_of(peer), network.proxy_of(peer)
        proxy.refuse()
        assert reads_count(peer) == 1
        assert count_of(peer) == 2
        proxy.go_on()
        around = network.fleet.add_worker(targets=server.address)
        with peer_of(around, session_id=peer.session_id) as stray:
            wait_until(lambda: counts_two(stray), "what was acknowledged")


def counts_two(peer: Peer) -> bool:
    """Tell whether a session knows of two counts; a call in which its owner changes is lost."""
    answer = peer.call("counts")
    return not is_lost(answer) and answer.result["structuredContent"] == {"count": 2}


def test_nobody_loses_a_write_while_servers_are_cut_off_in_turn(tmp_path: Path) -> None:
    with running_network(tmp_path) as network, counting_clients(network.worker, 4) as load:
        for proxy in [*network.proxies, *network.proxies]:
            proxy.refuse()
            load.wait_for_answers(20)
            proxy.go_on()
            load.wait_for_answers(20)
        load.check(within_seconds=PROMPT_SECONDS)


# --- silent ---------------------------------------------------------------------------------------


@requirement("session.network-cut")
def test_a_silent_way_to_the_owner_is_one_clear_error_and_harms_no_other_session(
    tmp_path: Path,
) -> None:
    with (
        OtlpReceiver() as receiver,
        running_network(tmp_path, receiver=receiver) as network,
        ExitStack() as stack,
    ):
        cut_off = session_owned_by(network, 0, stack)
        unharmed = session_owned_by(network, 1, stack)
        assert count_of(cut_off) == count_of(unharmed) == 1
        network.proxies[0].hang()
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(timed, cut_off, "add_one")
            counted = 1
            while not waiting.done():
                answer, seconds = timed(unharmed, "add_one")
                counted += 1
                assert answer.result["structuredContent"] == {"result": counted}
                assert seconds < BUSY_SECONDS
        answer, seconds = waiting.result()
        assert is_clear_error(answer), answer
        assert seconds < SILENT_SECONDS
        with session_at(network.worker) as new:  # wherever it is placed
            assert count_of(new) == 1
        network.proxies[0].go_on()
        # What was refused may have run all the same, once.
        assert count_of(cut_off) in {2, 3}
        assert network.owner_of(cut_off) == 0
        end_of(network)
        for spans in traces(receiver.spans()).values():
            assert_one_trace(spans)


def test_what_was_held_up_for_less_than_is_noticed_arrives(tmp_path: Path) -> None:
    with (
        running_network(tmp_path, servers=1) as network,
        session_at(network.worker) as peer,
        ThreadPoolExecutor(1) as threads,
    ):
        network.proxies[0].hang()
        waiting = threads.submit(peer.call, "add_one")
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
        network.proxies[0].go_on()
        assert waiting.result(timeout=PATIENCE_SECONDS).result["structuredContent"] == {"result": 1}


# --- cut in the middle of a call ------------------------------------------------------------------

CUTS: Final[dict[str, Callable[[BrokenNetworkProxy], None]]] = {
    "reset": BrokenNetworkProxy.reset,
    "half closed towards the worker": lambda proxy: proxy.half_close(towards_client=True),
    "half closed towards the server": lambda proxy: proxy.half_close(towards_client=False),
}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Two servers, for tests that leave the proxies as they were."""
    with OtlpReceiver() as receiver:
        with running_network(tmp_path_factory.mktemp("cuts"), receiver=receiver) as running:
            yield running
            end_of(running)
        for spans in traces(receiver.spans()).values():
            assert_one_trace(spans)


@requirement("session.run-once")
@pytest.mark.parametrize("cut", CUTS)
def test_a_call_whose_connection_breaks_runs_once_and_its_answer_arrives(
    network: Network, cut: str
) -> None:
    with (
        session_at(network.worker) as peer,
        peer_of(network.worker, session_id=peer.session_id) as other,
        ThreadPoolExecutor(1) as threads,
    ):
        before_it = len(network.commits_of(peer))
        waiting = threads.submit(peer.call, "run_and_wait", name=cut, length=3)
        other.call("started", name=cut)
        # Its count and its stream: from now on its answer is on record, whoever reads it.
        wait_until(lambda: len(network.commits_of(peer)) >= before_it + 2, "its stream")
        proxy = network.proxy_of(peer)
        before = proxy.accepted
        CUTS[cut](proxy)
        wait_until(lambda: proxy.accepted > before, "another connection")
        assert other.call("release", name=cut).status == 200
        answer = waiting.result(timeout=PATIENCE_SECONDS)
        assert answer.result["structuredContent"] == {"result": "xxx"}
        assert peer.call("counts").result["structuredContent"] == {"runs": 1}


def test_an_answer_that_is_cut_in_the_middle_is_one_answer_or_one_clear_error(
    network: Network,
) -> None:
    with (
        session_at(network.worker) as peer,
        peer_of(network.worker, session_id=peer.session_id) as other,
        ThreadPoolExecutor(1) as threads,
    ):
        length = 4_000_000
        waiting = threads.submit(peer.call, "run_and_wait", name="large", length=length)
        other.call("started", name="large")
        network.proxy_of(peer).cut_after(1_000_000)
        other.call("release", name="large")
        answer = waiting.result(timeout=PATIENCE_SECONDS)
        if not is_lost(answer):
            assert answer.result["structuredContent"] == {"result": "x" * length}
        assert peer.call("counts").result["structuredContent"] == {"runs": 1}
