"""The audit trail as a file: JSON lines, appended by a thread of its own.

Above lies `trail`. Invariants: whoever tells an event never waits for the disk; an event is written
whole, by one write, or written again; the events of a process stand in the order in which they were
told; what is lost is counted, and the file says so once it can be written again.

`O_APPEND` has every write go to the end of the file, whoever else writes to it, so that several
processes may share one on a local file system (https://pubs.opengroup.org/onlinepubs/9799919799/functions/write.html).
"""

import logging
import os
import stat
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from linkspan_process.audit.events import LOST, AuditEvent, line_of

logger = logging.getLogger(__name__)

QUEUE_EVENTS: Final = 4096
"""How many events may wait for the disk."""

_RETRY_SECONDS: Final = 0.5
_LAST_RETRY_SECONDS: Final = 0.05
_MODE: Final = 0o600


class AuditFile:
    """Takes events and appends them to a file, which is made anew where it was moved away."""

    def __init__(self, path: Path, service: str, *, max_events: int = QUEUE_EVENTS) -> None:
        """Open the file, which is made if it is not there, for its owner alone.

        Args:
            path: Where it is.
            service: Who writes.
            max_events: How many events may wait.

        Raises:
            OSError: It cannot be opened, or is not a regular file.
        """
        self._path = path
        self._service = service
        self._max_events = max_events
        self._file = _open(path)
        self._identity = _identity(os.fstat(self._file))
        self._queue: deque[AuditEvent] = deque()
        self._lost = 0  # counted by whoever tells
        self._told_lost = 0  # counted by the thread
        self._torn = False
        self._in_trouble = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._give_up_at = float("inf")
        self._thread = threading.Thread(target=self._run, name="audit-file", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """How many events were lost so far."""
        return self._lost

    def put(self, event: AuditEvent) -> None:
        """Take an event; never waits. From one thread."""
        if len(self._queue) >= self._max_events:
            self._lost += 1
            return
        self._queue.append(event)
        if not self._wake.is_set():
            self._wake.set()

    def reopen(self) -> None:
        """Look at once whether the file was moved; it is looked at with every event, too."""
        self._wake.set()

    def close(self, timeout_seconds: float) -> None:
        """Write what is left, in at most about this time, and close the file; blocks."""
        self._give_up_at = time.monotonic() + timeout_seconds
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_seconds + _RETRY_SECONDS)
        self._lost += len(self._queue)
        if self._lost:
            logger.error("%d events of the audit trail were lost", self._lost)
        if not self._thread.is_alive():  # else it may be in the middle of a write
            os.close(self._file)

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            done = self._write_all()
            if self._closing.is_set() and (done or time.monotonic() >= self._give_up_at):
                return
            if not done:
                if self._closing.wait(_RETRY_SECONDS):  # which waits for nothing then
                    time.sleep(_LAST_RETRY_SECONDS)
                self._wake.set()

    def _write_all(self) -> bool:
        """Write what there is; returns whether all of it is out."""
        try:
            self._follow()
            while self._queue:
                self._write(self._queue[0])
                self._queue.popleft()
            untold = self._lost - self._told_lost
            if untold:
                self._write(AuditEvent(LOST, time.time_ns(), {"actor": "server", "count": untold}))
                self._told_lost += untold
        except Exception as error:  # noqa: BLE001 - without this thread all events would be lost
            if not self._in_trouble:
                self._in_trouble = True
                logger.error("the audit trail cannot be written, and waits: %s", error)  # noqa: TRY400
            return False
        if self._in_trouble:
            self._in_trouble = False
            logger.warning("the audit trail is written again; %d events were lost", self._lost)
        return True

    def _write(self, event: AuditEvent) -> None:
        line = line_of(event, self._service)
        if self._torn:  # what is left of an event that did not fit is a line of its own
            line = b"\n" + line
        written = os.write(self._file, line)
        self._torn = written < len(line) if written else self._torn
        if written < len(line):
            raise OSError(f"{written} of {len(line)} bytes were written")

    def _follow(self) -> None:
        """Open the file anew if its path names another one by now, or none."""
        try:
            if _identity(self._path.stat()) == self._identity:
                return
        except FileNotFoundError:
            pass
        opened = _open(self._path)
        os.close(self._file)
        self._file = opened
        self._identity = _identity(os.fstat(opened))
        self._torn = False


def _open(path: Path) -> int:
    # Not waiting for whoever might read a pipe; a link would let others choose what is appended to.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    opened = os.open(path, flags, _MODE)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(f"{path} is not a regular file")
    return opened


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
