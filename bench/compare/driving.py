"""Clients kept busy for a while: how much they got done, how long each thing took, what it cost.

Above lies `course`; below lie `lines` and `asking`. Invariants: each client has one request under
way; the first thing that goes wrong ends all; what was begun in time is brought to its end, and
counts.
"""

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.compare.asking import Opening, Script, new_ids, opening
from bench.compare.lines import Answer, Line

_END_SECONDS: Final = 60.0
"""How much longer than asked it may take until the last answer is there."""

_ENDED: Final = frozenset({200, 202, 204})

Client = tuple[Line, Script]


@dataclass(frozen=True, slots=True)
class Driven:
    """What clients got done together.

    Attributes:
        seconds: How long it took, until the last answer.
        latencies: How long each single thing took, in seconds, in no order.
        client_cpu_seconds: What this process spent on it.
    """

    seconds: float
    latencies: list[float]
    client_cpu_seconds: float

    @property
    def done(self) -> int:
        """How many things were done."""
        return len(self.latencies)


class _Busy:
    """All clients of one drive."""

    def __init__(self, until: float, left: int) -> None:
        self.until = until
        self.left = left
        self.latencies: list[float] = []
        self.under_way = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, line: Line, script: Script) -> None:
        """Set a client going."""
        clock = time.perf_counter
        begun = 0.0

        def begin(now: float) -> None:
            nonlocal begun
            if not self.left or now >= self.until:
                self.under_way -= 1
                if not self.under_way and not self.over.done():
                    self.over.set_result(None)
                return
            self.left -= 1
            begun = now
            line.send(script.begin())

        def answered(answer: Answer) -> None:
            more = script.go_on(answer)
            if more is not None:
                line.send(more)
                return
            now = clock()
            self.latencies.append(now - begun)
            begin(now)

        line.answered, line.broke = answered, self._broke
        self.under_way += 1
        begin(clock())

    def _broke(self, error: Exception) -> None:
        if not self.over.done():
            self.over.set_exception(error)


async def drive(
    clients: Sequence[Client], *, seconds: float | None = None, times: int | None = None
) -> Driven:
    """Let clients do what they do, each over and over, all at the same time.

    Args:
        clients: What each does, and on which line.
        seconds: For how long to begin new rounds; None for no bound.
        times: How many rounds in all; None for no bound.

    Raises:
        WrongAnswerError: An answer was wrong.
        ConnectionError: A connection broke.
        TimeoutError: Answers were still missing long after the end.
    """
    gc.collect()
    gc.disable()  # its pauses would be taken for the server's
    try:
        cpu_before, start = time.process_time(), time.perf_counter()
        busy = _Busy(float("inf") if seconds is None else start + seconds, times or -1)
        for line, script in clients:
            busy.start(line, script)
        async with asyncio.timeout((seconds or _END_SECONDS) + _END_SECONDS):
            await busy.over
        cpu = time.process_time() - cpu_before
        return Driven(time.perf_counter() - start, busy.latencies, cpu)
    finally:
        gc.enable()


async def open_sessions(lines: Sequence[Line], urls: Sequence[str], kind: str) -> list[bytes]:
    """Open a session on each line, with the whole handshake; returns their ids."""
    wording, ids = opening(kind), new_ids()
    scripts = [
        Opening(urls[index % len(urls)], wording, ids, whole=True) for index in range(len(lines))
    ]
    # Each client begins one at once, so nobody is left to begin another.
    await drive(list(zip(lines, scripts, strict=True)), times=len(scripts))
    return [script.session for script in scripts]


async def end_sessions(lines: Sequence[Line], requests: Sequence[bytes]) -> None:
    """End the session of each line, so that servers do not go on with what nobody uses.

    Raises:
        ConnectionError: One could not be ended.
    """
    for answer in await asyncio.gather(*map(Line.ask, lines, requests)):
        if answer.status not in _ENDED:
            raise ConnectionError(f"a session could not be ended: {answer}")
