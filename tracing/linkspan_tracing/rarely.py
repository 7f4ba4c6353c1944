"""Log lines about what may happen ten thousand times a second.

Owns one decision: whether a line is due. Above lie the span, the tracer and the processors, which
must say what went wrong and must not make serving slower by saying it.
"""

import logging
import time
from typing import Final

INTERVAL_SECONDS: Final = 60.0


class RareWarning:
    """One kind of warning, logged at once and then at most once a minute.

    Args:
        logger: where it is logged.
        interval_seconds: the shortest time between two lines.

    Two threads at the same instant may log a line each; nothing is locked for that.
    """

    def __init__(self, logger: logging.Logger, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._logger = logger
        self._interval_seconds = interval_seconds
        self._due = float("-inf")
        self._held_back = 0

    def warn(self, message: str, *arguments: object, exc_info: bool = False) -> None:
        """Log a line, or count it for the next one.

        Args:
            message: as for ``logging``; the number of lines held back is added.
            arguments: what to put into it, written only where the line is logged.
            exc_info: whether to add the exception that is being handled.
        """
        now = time.monotonic()
        if now < self._due:
            self._held_back += 1
            return
        self._due = now + self._interval_seconds
        held_back, self._held_back = self._held_back, 0
        self._logger.warning(
            f"{message} (and %d times more)" if held_back else message,
            *arguments,
            *((held_back,) if held_back else ()),
            exc_info=exc_info,
        )
