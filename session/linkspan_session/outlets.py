"""Where the handler of one call speaks to the client: on the stream of that call."""

import logging
from collections.abc import Mapping
from typing import Any

from linkspan_contract.envelope import JsonObject
from linkspan_session.answer_streams import AnswerStream
from linkspan_session.answers import UNDELIVERED, AskError, OnProgress
from linkspan_session.asks import Asks
from linkspan_session.events import notification_event

logger = logging.getLogger(__name__)


class CallOutlet:
    """Where the handler of one call speaks to the client: on the stream of that call."""

    def __init__(self, stream: AnswerStream, asks: Asks | None) -> None:
        """Make an outlet.

        Args:
            stream: The stream of the call's answer.
            asks: Where answers of the client are waited for; None if none can come, because the
                protocol version has no requests to the client or the client takes one answer only.
        """
        self._stream = stream
        self._asks = asks

    @property
    def can_ask(self) -> bool:
        """See `Outlet.can_ask`."""
        return self._asks is not None

    async def tell(self, method: str, params: Mapping[str, Any] | None) -> None:
        """See `Outlet.tell`."""
        await self._stream.send(notification_event(method, params))

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        *,
        timeout_seconds: float | None,
        on_progress: OnProgress | None,
    ) -> JsonObject:
        """See `Outlet.ask`."""
        if self._asks is None:
            raise AskError(UNDELIVERED)
        return await self._asks.ask(
            self._stream.send,
            method,
            params,
            timeout_seconds=timeout_seconds,
            on_progress=on_progress,
        )


class SilentOutlet(CallOutlet):
    """A call's outlet for a client that takes the answer and nothing before it."""

    def __init__(self, stream: AnswerStream) -> None:
        super().__init__(stream, None)

    async def tell(self, method: str, params: Mapping[str, Any] | None) -> None:  # noqa: ARG002
        """Drop the notification: the client said it does not take any."""
        logger.debug("dropped %s: the client accepts no event stream", method)
