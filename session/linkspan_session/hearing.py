"""What a session's client says without being owed an answer: notifications and responses.

Above lies `host`; below lie `live` and `kernel`. What a notification means for the session happens
before it is accepted; its handler runs apart from the call that brought it.
"""

import asyncio
import dataclasses
import logging
from typing import Final

from linkspan_contract.envelope import Notification, Response, is_request_id
from linkspan_propagation import inject_into_fields
from linkspan_session.answer_streams import PlainStream
from linkspan_session.answers import CANCELLED, HeaderPairs
from linkspan_session.errors import TooManyRequestsError
from linkspan_session.exchange import Exchange
from linkspan_session.kernel import Call, HostedServer, handshake_of
from linkspan_session.live import LiveSession
from linkspan_session.outlets import SilentOutlet
from linkspan_session.retries import HARMLESS_NOTIFICATIONS
from linkspan_session.store import Changes

logger = logging.getLogger(__name__)


class Hearing:
    """The notifications that are being handled."""

    def __init__(
        self,
        hosted: HostedServer,
        tasks: asyncio.TaskGroup,
        *,
        timeout_seconds: float,
        max_at_once: int,
    ) -> None:
        """Begin with none.

        Args:
            hosted: The user's server.
            tasks: Owns every handler's task.
            timeout_seconds: The longest a handler may run.
            max_at_once: How many notifications of one session may be handled at once.
        """
        self._max_at_once = max_at_once
        self._hosted = hosted
        self._tasks = tasks
        self._timeout_seconds: Final = timeout_seconds
        self._running: set[asyncio.Task[None]] = set()

    async def take(
        self,
        live: LiveSession,
        envelope: Notification | Response,
        headers: HeaderPairs,
        *,
        again: bool = False,
    ) -> str:
        """Take a message that is owed no answer; what it means for the session happens at once.

        Args:
            live: The session.
            envelope: The message.
            headers: The HTTP headers that came with it.
            again: Whether it may have been taken before: then the hosted server hears of it only if
                that is known to do no harm.

        Returns:
            The traceparent of the span that asked what it answers, or of the request that it
            cancels; empty for neither.

        Raises:
            TooManyRequestsError: As many are being handled as may be.
        """
        if isinstance(envelope, Response):
            return live.asks.take(envelope) or ""
        about = ""
        match envelope:
            case Notification("notifications/cancelled", {"requestId": request_id}) if (
                is_request_id(request_id)
            ):
                for stopped in live.calls.stop(request_id, CANCELLED):
                    about = stopped.context.run(inject_into_fields).get("traceparent", "")
            case Notification("notifications/initialized"):
                await _mark_initialized(live)
            case _:
                pass
        if again and envelope.method not in HARMLESS_NOTIFICATIONS:
            logger.info("%s may have been heard before and is not heard again", envelope.method)
            return about
        if live.users > self._max_at_once:
            raise TooManyRequestsError
        self._start(live, envelope, headers)
        return about

    def stop(self) -> None:
        """Cancel what is being handled."""
        for task in self._running:
            task.cancel()

    def _start(self, live: LiveSession, notification: Notification, headers: HeaderPairs) -> None:
        live.users += 1
        task = self._tasks.create_task(self._hear(live, notification, headers))
        self._running.add(task)

        def over(done: "asyncio.Task[None]") -> None:
            live.users -= 1
            self._running.discard(done)

        task.add_done_callback(over)

    async def _hear(
        self, live: LiveSession, notification: Notification, headers: HeaderPairs
    ) -> None:
        """Let the hosted server handle a notification, apart from the call that brought it."""
        outlet = SilentOutlet(PlainStream(Exchange()))
        call = Call(outlet, request_id=None, params=notification.params, headers=headers)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if notification.method == "notifications/progress":
                    await live.asks.report(notification.params)
                await self._hosted.hear(
                    live.connection, call, notification.method, notification.params
                )
        except Exception:  # a handler's failure is the handler's; it must not end its siblings
            logger.exception("the handler of %s failed", notification.method)


async def _mark_initialized(live: LiveSession) -> None:
    live.connection.initialized.set()
    handshake = handshake_of(live.connection)
    if handshake is not None and live.record.handshake != handshake:
        await live.journal.commit(Changes(handshake=handshake))
        live.record = dataclasses.replace(live.record, handshake=handshake)
