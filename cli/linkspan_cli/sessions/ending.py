"""Many sessions ended at once, a bounded number at a time, and what became of them.

Above lies `command`; below lies `client`. If no session server can be reached, the rest is not tried:
it would fail in the same way.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from linkspan_cli.sessions.client import CallError, ServerUnreachableError, SessionsClient
from linkspan_cli.sessions.formats import number
from linkspan_cli.sessions.progress import Progress
from linkspan_process.tls.watching import TlsFiles

AT_ONCE: Final = 16
"""How many sessions are being ended at a time."""

MAX_TOLD: Final = 10
"""How many failures are told one by one."""


@dataclass(slots=True)
class Tally:
    """What became of sessions that were to be ended.

    Attributes:
        asked: How many there are.
        ended: How many were ended.
        gone: How many were not there any more.
        failed: How many could not be ended, or nobody can tell.
    """

    asked: int
    ended: int = 0
    gone: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """How many were tried."""
        return self.ended + self.gone + self.failed

    def counts(self) -> str:
        """Write what became of those that were tried."""
        return (
            f"ended {number(self.ended)}, gone already {number(self.gone)}, "
            f"failed {number(self.failed)}"
        )

    def summary(self) -> str:
        """Write what became of all of them, and how many were left as they are, in one line."""
        left = self.asked - self.done
        return f"{self.counts()}, left {number(left)}" if left else self.counts()


async def end_all(
    ids: list[str],
    target: str,
    tally: Tally,
    *,
    say: Callable[[str], None],
    tls: TlsFiles | None = None,
) -> None:
    """End sessions.

    Args:
        ids: Which.
        target: The gRPC target of the session servers.
        tally: Kept up to date, so that it is right whenever this is cancelled.
        say: Writes one line for people.
        tls: Who is asking; None for no TLS.
    """
    async with SessionsClient(target, tls=tls) as client:
        ending = _Ending(client, iter(ids), tally, say)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(AT_ONCE, len(ids))):
                    tasks.create_task(ending.work())
        finally:
            ending.tell_the_rest()


class _Ending:
    """The sessions that are left, shared by those who end them."""

    def __init__(
        self, client: SessionsClient, ids: Iterator[str], tally: Tally, say: Callable[[str], None]
    ) -> None:
        self._client = client
        self._ids = ids
        self._tally = tally
        self._say = say
        self._progress = Progress(sys.stderr)
        self._unreachable = False

    async def work(self) -> None:
        """End one session after the other until none is left."""
        for session_id in self._ids:
            if self._unreachable:
                # It was taken and not tried; whoever looks at the tally counts it so.
                return
            try:
                if await self._client.end(session_id):
                    self._tally.ended += 1
                else:
                    self._tally.gone += 1
            except ServerUnreachableError as error:
                self._tally.failed += 1
                if not self._unreachable:
                    self._unreachable = True
                    self._tell(str(error))
            except CallError as error:
                self._tally.failed += 1
                if self._tally.failed <= MAX_TOLD:
                    self._tell(f"{session_id}: {error}")
            self._show()

    def tell_the_rest(self) -> None:
        """Take the progress away, and say how many failures were not told."""
        self._progress.clear()
        if not self._unreachable and self._tally.failed > MAX_TOLD:
            self._say(f"{number(self._tally.failed - MAX_TOLD)} more could not be ended")

    def _tell(self, words: str) -> None:
        self._progress.clear()
        self._say(words)

    def _show(self) -> None:
        tally = self._tally
        if tally.done < tally.asked:
            far = f"{number(tally.done)} of {number(tally.asked)} sessions: {tally.counts()}"
            self._progress.show(far, done=tally.done)
