"""A command on a terminal: what it shows there, and what is typed."""

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

from tests.integration.sessions_command.commands import Told
from tests.support.processes import REPOSITORY, clean_environ
from tests.support.session_calls import TIMEOUT_SECONDS


class Terminal:
    """A command whose standard input and error are a terminal, and whose output is a pipe."""

    def __init__(self, *words: str) -> None:
        self._screen, inner = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "linkspan_cli", "sessions", *words],
            stdin=inner,
            stdout=subprocess.PIPE,
            stderr=inner,
            cwd=REPOSITORY,
            env=clean_environ(),
        )
        os.close(inner)
        self.shown = ""
        """What came on the terminal so far."""

    def wait_for(self, text: str) -> None:
        """Read the terminal until it shows something."""
        while text not in self.shown:
            assert self._read(), f"not shown: {text!r} in {self.shown!r}"

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C until it is heard: a read that begins just then does not notice it."""
        while self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(2)

    def end(self) -> Told:
        """Read to the end."""
        assert self.process.stdout is not None
        output = self.process.stdout.read().decode().splitlines()
        while self._read():
            pass
        return Told(self.process.wait(TIMEOUT_SECONDS), output, self.shown.splitlines())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._screen)

    def _read(self) -> bool:
        readable, _, _ = select.select([self._screen], [], [], TIMEOUT_SECONDS)
        assert readable, f"nothing comes after {self.shown!r}"
        try:
            piece = os.read(self._screen, 65536)
        except OSError:  # Linux's way to say that nobody holds the other end
            return False
        self.shown += piece.decode()
        return bool(piece)


@contextmanager
def terminal(*words: str) -> Generator[Terminal]:
    opened = Terminal(*words)
    try:
        yield opened
    finally:
        opened.close()


def last_of(shown: str) -> str:
    """Return what is left to be seen on the last line of a terminal."""
    cells: list[str] = []
    for piece in shown.rpartition("\n")[2].split("\r"):
        cells[: len(piece)] = piece
    return "".join(cells).rstrip()
