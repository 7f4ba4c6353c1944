"""Clients that count in their sessions without a pause, and what they saw.

They call a tool `add_one` that adds one to the session's count and answers the count. What a client
was told must be on record afterwards, whatever broke in between.
"""

import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from tests.support.peer import Answer, Peer, session_at
from tests.support.waiting import wait_until

_END_SECONDS: Final = 40.0

LOST: Final = -32000
"""The JSON-RPC error of a call of which nobody knows how far it got."""


@dataclass(slots=True)
class Tally:
    """What one client has seen.

    Attributes:
        asked: How many calls it has made.
        told: The highest count that it was told.
        answered: How many calls were answered with a result.
        refused: How many got an error that says to try again.
        lost: How many got an error because nobody knows how far they got.
        unclear: All other answers.
        longest_seconds: How long the slowest call took.
    """

    asked: int = 0
    told: int = 0
    answered: int = 0
    refused: int = 0
    lost: int = 0
    unclear: list[Answer | Exception] = field(default_factory=list["Answer | Exception"])
    longest_seconds: float = 0.0

    def note(self, answer: Answer, seconds: float) -> None:
        """Count an answer."""
        self.longest_seconds = max(self.longest_seconds, seconds)
        if answer.status == 200 and "result" in answer.final:
            self.answered += 1
            self.told = max(self.told, answer.result["structuredContent"]["result"])
        elif is_lost(answer):
            self.lost += 1
        elif is_refused(answer):
            self.refused += 1
        else:
            self.unclear.append(answer)


def is_refused(answer: Answer) -> bool:
    """Tell whether an answer is 503, with a JSON-RPC error, and says when to try again."""
    return answer.status == 503 and "error" in answer.final and "retry-after" in answer.headers


def is_lost(answer: Answer) -> bool:
    """Tell whether an answer says that nobody knows how far the call got."""
    return answer.status in {200, 503} and "error" in answer.final and answer.code == LOST


def is_clear_error(answer: Answer) -> bool:
    """Tell whether an answer is one of these."""
    return is_refused(answer) or is_lost(answer)


class Load:
    """Clients, each in a session and a thread of its own."""

    def __init__(self, peers: list[Peer]) -> None:
        self.peers = peers
        self.tallies = [Tally() for _ in peers]
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=pair, daemon=True)
            for pair in zip(self.peers, self.tallies, strict=True)
        ]

    @property
    def answered(self) -> int:
        """How many calls were answered with a result so far."""
        return sum(each.answered for each in self.tallies)

    @property
    def failed(self) -> int:
        """How many calls got a clear error so far."""
        return sum(each.refused + each.lost for each in self.tallies)

    def wait_for_answers(self, count: int) -> None:
        """Wait until so many more calls were answered with a result."""
        wanted = self.answered + count
        wait_until(lambda: self.answered >= wanted, "answers")

    def wait_for_errors(self, count: int) -> None:
        """Wait until so many more calls got a clear error."""
        wanted = self.failed + count
        wait_until(lambda: self.failed >= wanted, "clear errors")

    def start(self) -> None:
        """Begin to call."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the calls that are under way end, and make no more; twice is no error."""
        self._ending.set()
        for thread in self._threads:
            thread.join(timeout=_END_SECONDS)
            assert not thread.is_alive(), "a call has no end"

    def check(self, *, within_seconds: float) -> None:
        """Stop; fail the test if a write was lost, or a client had no clear answer in time."""
        self.stop()
        for peer, tally in zip(self.peers, self.tallies, strict=True):
            told = tally.told
            wait_until(partial(call_once, peer, tally), "an answer")
            assert not tally.unclear, tally.unclear
            assert tally.longest_seconds <= within_seconds, tally
            assert told < tally.told <= tally.asked, (told, tally)

    def _run(self, peer: Peer, tally: Tally) -> None:
        while not self._ending.is_set():
            try:
                call_once(peer, tally)
            except Exception as error:  # noqa: BLE001 - the test is told of whatever it is
                tally.unclear.append(error)
                return


def call_once(peer: Peer, tally: Tally) -> bool:
    """Add one, and return whether that was answered with the count."""
    answered = tally.answered
    tally.asked += 1
    began = time.monotonic()
    answer = peer.call("add_one")
    tally.note(answer, time.monotonic() - began)
    return tally.answered > answered


@contextmanager
def counting_clients(address: str, clients: int) -> Generator[Load]:
    """Open sessions at a worker; the load starts with the block and ends with it.

    Args:
        address: The worker.
        clients: How many sessions.
    """
    with ExitStack() as stack:
        load = Load([stack.enter_context(session_at(address)) for _ in range(clients)])
        load.start()
        try:
            yield load
        finally:
            load.stop()
