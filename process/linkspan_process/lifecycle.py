"""The life of a service process: start, serve until a signal, end within a bound.

Exit status: 0 after SIGINT or SIGTERM, 2 if it could not start (one line on standard error says
why), 1 if it broke, or if what it runs did not end in time and was left behind.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Final

from linkspan_process.errors import StartError

EXIT_OK: Final = 0
EXIT_BROKEN: Final = 1
EXIT_NOT_STARTED: Final = 2

END_SECONDS: Final = 10.0
"""How long a process may take to end beside what it gives running requests: to close its store, to
flush its spans."""

logger = logging.getLogger(__name__)


def run_service(
    name: str,
    serve: Callable[[asyncio.Event], Awaitable[None]],
    *,
    end_within_seconds: float,
    with_parent: bool = False,
) -> int:
    """Run `serve` on an event loop of its own until it returns.

    Args:
        name: What the process is called in the line that says why it did not start.
        serve: Serves until the event it is given is set, which SIGINT and SIGTERM do, and then
            ends cleanly. May raise `StartError`.
        end_within_seconds: How long the process may take to end once it was asked to; then it ends
            all the same, because user code may heed no cancellation.
        with_parent: Whether the end of standard input is a signal to stop as well, so that a
            process does not outlive the parent that holds the other end.

    Returns:
        The exit status for the process.
    """
    try:
        _run(name, serve, end_within_seconds, with_parent=with_parent)
    except StartError as error:
        print(f"linkspan {name}: {error}", file=sys.stderr)
        return EXIT_NOT_STARTED
    except Exception:
        logger.exception("the %s process broke", name)
        return EXIT_BROKEN
    return EXIT_OK


class _Stop:
    """The request to end: told to whoever serves, and enforced when its time is over."""

    def __init__(self, name: str, end_within_seconds: float) -> None:
        self.event = asyncio.Event()
        # A thread of its own, because the event loop may be what does not come to an end.
        self._limit = threading.Timer(end_within_seconds, _leave, [name])
        self._limit.daemon = True

    def request(self) -> None:
        """Ask; does nothing the second time."""
        if not self.event.is_set():
            self.event.set()
            self._limit.start()

    def request_at_end_of_input(self) -> None:
        """Ask, if standard input has ended."""
        if not os.read(sys.stdin.fileno(), 1024):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.request()


def _leave(name: str) -> None:
    logger.error("the %s process did not end in time; what still runs is left behind", name)
    os._exit(EXIT_BROKEN)


def _run(
    name: str,
    serve: Callable[[asyncio.Event], Awaitable[None]],
    end_within_seconds: float,
    *,
    with_parent: bool,
) -> None:
    async def main() -> None:
        stop = _Stop(name, end_within_seconds)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.request)
        if with_parent:
            loop.add_reader(sys.stdin.fileno(), stop.request_at_end_of_input)
        await serve(stop.event)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - there is none for Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
