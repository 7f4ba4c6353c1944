"""Where a request's answer goes, and the ways that need no record: one reader, or a batch's.

Above lie `calls` and `requests`, which write; below lie `exchange` and `journal`. `streams` has the
stream on record, which is one of these as well.
"""

from collections.abc import Callable
from typing import Protocol

from linkspan.session.v1.session_service_pb2 import HandleRequestResponse
from linkspan_session.exchange import Exchange
from linkspan_session.journal import Journal
from linkspan_session.store import Changes


def nothing() -> None:
    """Do nothing."""


class AnswerStream(Protocol):
    """Where one request's answer goes."""

    async def send(self, event: HandleRequestResponse) -> bool:
        """Write a message on the way to the answer; False if nobody will ever read it."""
        ...

    async def finish(
        self,
        event: HandleRequestResponse,
        changes: Changes | None = None,
        committed: Callable[[], None] = nothing,
    ) -> None:
        """Write the answer, and end.

        Args:
            event: The answer.
            changes: What the request changed, to be committed before the answer leaves.
            committed: Called when the changes are on record, before the answer leaves.

        Raises:
            SessionMovedError: The changes cannot be committed: the session is another server's.
            StoreUnavailableError: The changes cannot be committed now.
        """
        ...

    def fail(self, error: Exception) -> None:
        """End without an answer, because of an error."""
        ...

    def abort(self) -> None:
        """End without an answer; does nothing after `finish` or `fail`."""
        ...


class PlainStream:
    """A stream that its one reader takes or leaves; nothing of it is on record."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    async def send(self, event: HandleRequestResponse) -> bool:
        """See `AnswerStream.send`."""
        return await self.exchange.send(event)

    async def finish(
        self,
        event: HandleRequestResponse,
        changes: Changes | None = None,  # noqa: ARG002 - without a session nothing is changed
        committed: Callable[[], None] = nothing,  # noqa: ARG002
    ) -> None:
        """See `AnswerStream.finish`."""
        self.exchange.finish(event)

    def fail(self, error: Exception) -> None:
        """See `AnswerStream.fail`."""
        self.exchange.fail(error)

    def abort(self) -> None:
        """See `AnswerStream.abort`."""
        self.exchange.finish()


class BatchStream(PlainStream):
    """The streams of a batch's requests, over one exchange that ends with the last of them."""

    def __init__(self, exchange: Exchange, requests: int, journal: Journal) -> None:
        super().__init__(exchange)
        self._unanswered = requests
        self._journal = journal

    async def finish(
        self,
        event: HandleRequestResponse,
        changes: Changes | None = None,
        committed: Callable[[], None] = nothing,
    ) -> None:
        """Write one answer, and end with the last one."""
        if changes is not None:
            await self._journal.commit(changes)
            committed()
        await self.exchange.send(event)
        self._unanswered -= 1
        if not self._unanswered:
            self.exchange.finish()

    def abort(self) -> None:
        """End only if nothing is owed any more; the other answers are still to come."""
        if not self._unanswered:
            self.exchange.finish()
