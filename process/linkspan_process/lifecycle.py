"""The life of a service process: start, serve until a signal, end within a bound.

Exit status: 0 after SIGINT or SIGTERM, 2 if it could not start (one line on standard error says
why), 1 if it broke.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from linkspan_process.errors import StartError

EXIT_OK: Final = 0
EXIT_BROKEN: Final = 1
EXIT_NOT_STARTED: Final = 2

logger = logging.getLogger(__name__)


def run_service(
    name: str, serve: Callable[[asyncio.Event], Awaitable[None]], *, with_parent: bool = False
) -> int:
    """Run `serve` on an event loop of its own until it returns.

    Args:
        name: What the process is called in the line that says why it did not start.
        serve: Serves until the event it is given is set, which SIGINT and SIGTERM do, and then
            ends cleanly. May raise `StartError`.
        with_parent: Whether the end of standard input is a signal to stop as well, so that a
            process does not outlive the parent that holds the other end.

    Returns:
        The exit status for the process.
    """
    try:
        _run(serve, with_parent=with_parent)
    except StartError as error:
        print(f"linkspan {name}: {error}", file=sys.stderr)
        return EXIT_NOT_STARTED
    except Exception:
        logger.exception("the %s process broke", name)
        return EXIT_BROKEN
    return EXIT_OK


def _run(serve: Callable[[asyncio.Event], Awaitable[None]], *, with_parent: bool) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        if with_parent:
            loop.add_reader(sys.stdin.fileno(), _stop_at_end_of_input, stop)
        await serve(stop)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _stop_at_end_of_input(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - there is none for Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
