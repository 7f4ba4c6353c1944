"""One session in memory: its connection, what it runs, what it asks, its listening stream.

Above lies `host`, which finds sessions and keeps their records; below lies `kernel`. Lives on the
event loop only: between two awaits nothing else changes a session. A session at rest holds no task
and no stream.
"""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from linkspan.session.v1.session_service_pb2 import HandleRequestResponse
from linkspan_contract.envelope import JsonObject
from linkspan_session.asks import UNDELIVERED, Asks
from linkspan_session.calls import SESSION_ENDED, RunningCalls
from linkspan_session.events import listening_event, notification_event
from linkspan_session.exchange import Exchange
from linkspan_session.kernel import AskError, HostedServer, OnProgress
from linkspan_session.store import SessionRecord

logger = logging.getLogger(__name__)


class CallOutlet:
    """Where the handler of one call speaks to the client: on the stream of that call."""

    def __init__(self, exchange: Exchange, asks: Asks | None) -> None:
        """Make an outlet.

        Args:
            exchange: The stream of the call's answer.
            asks: Where answers of the client are waited for; None if none can come, because the
                protocol version has no requests to the client or the client takes one answer only.
        """
        self._exchange = exchange
        self._asks = asks

    @property
    def can_ask(self) -> bool:
        """See `Outlet.can_ask`."""
        return self._asks is not None

    async def tell(self, method: str, params: Mapping[str, Any] | None) -> None:
        """See `Outlet.tell`."""
        await self._exchange.send(notification_event(method, params))

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
            self._exchange.send,
            method,
            params,
            timeout_seconds=timeout_seconds,
            on_progress=on_progress,
        )


class SilentOutlet(CallOutlet):
    """A call's outlet for a client that takes the answer and nothing before it."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange, None)

    async def tell(self, method: str, params: Mapping[str, Any] | None) -> None:  # noqa: ARG002
        """Drop the notification: the client said it does not take any."""
        logger.debug("dropped %s: the client accepts no event stream", method)


class LiveSession:
    """A session that is being used. It is its own outlet for what is said outside of any call."""

    def __init__(self, record: SessionRecord, hosted: HostedServer, calls: RunningCalls) -> None:
        self.record = record
        self.calls = calls
        self.asks = Asks()
        self.ended = False
        self.initializing = False
        self._listening: Exchange | None = None
        if record.handshake is None:
            self.connection = hosted.connect(record.session_id, self)
        else:
            self.connection = hosted.reconnect(record.session_id, self, record.handshake)

    @property
    def can_ask(self) -> bool:
        """See `Outlet.can_ask`."""
        return self._listening is not None and self._listening.open

    async def tell(self, method: str, params: Mapping[str, Any] | None) -> None:
        """See `Outlet.tell`; goes out on the listening stream, which is cut if it lags behind."""
        if not await self._say(notification_event(method, params)):
            logger.debug("dropped %s: the client is not listening", method)

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        *,
        timeout_seconds: float | None,
        on_progress: OnProgress | None,
    ) -> JsonObject:
        """See `Outlet.ask`; goes out on the listening stream."""
        return await self.asks.ask(
            self._say, method, params, timeout_seconds=timeout_seconds, on_progress=on_progress
        )

    def listen(self) -> Exchange:
        """Open the listening stream; the one before it ends."""
        if self._listening is not None:
            self._listening.finish()
        exchange = Exchange()
        exchange.on_detach = partial(self._stop_listening, exchange)
        exchange.offer(listening_event())
        self._listening = exchange
        return exchange

    def end(self) -> None:
        """Stop all there is of it: calls are answered, streams end, waits are over."""
        self.ended = True
        self.calls.stop_all(SESSION_ENDED)
        self.asks.give_up()
        self.stop_listening()

    def stop_listening(self) -> None:
        """End the listening stream, if there is one."""
        if self._listening is not None:
            self._listening.finish()
            self._listening = None

    def _stop_listening(self, exchange: Exchange) -> None:
        if self._listening is exchange:
            self._listening = None

    async def _say(self, event: HandleRequestResponse) -> bool:
        return self._listening is not None and self._listening.offer(event)
