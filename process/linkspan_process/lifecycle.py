"""The life of a service process: start, serve until a signal, end within a bound.

Exit status: 0 after SIGINT or SIGTERM, 2 if it could not start (one line on standard error says
why), 1 if it broke.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from linkspan_process.errors import StartError

EXIT_OK: Final = 0
EXIT_BROKEN: Final = 1
EXIT_NOT_STARTED: Final = 2

logger = logging.getLogger(__name__)


def run_service(name: str, serve: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run `serve` on an event loop of its own until it returns.

    Args:
        name: What the process is called in the line that says why it did not start.
        serve: Serves until the event it is given is set, which SIGINT and SIGTERM do, and then
            ends cleanly. May raise `StartError`.

    Returns:
        The exit status for the process.
    """
    try:
        _run(serve)
    except StartError as error:
        print(f"linkspan {name}: {error}", file=sys.stderr)
        return EXIT_NOT_STARTED
    except Exception:
        logger.exception("the %s process broke", name)
        return EXIT_BROKEN
    return EXIT_OK


def _run(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await serve(stop)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - there is none for Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
