"""Linkspan's processes as tests start them: the real commands, on free ports, bounded in time.

A process is stopped with the block that started it. It also watches its standard input, so it ends
with the test run even if that is killed.
"""

import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from linkspan_process.ready import parse_ready_line

REPOSITORY: Final = Path(__file__).parents[2]
EVERYTHING: Final = str(REPOSITORY / "examples" / "everything" / "server.py") + ":mcp"

_READY_SECONDS: Final = 40.0
_STOP_SECONDS: Final = 40.0
_CHUNK_BYTES: Final = 65536


class _Lines:
    """The lines that a process writes to a pipe: a thread takes them, so that it never waits to write.

    Whoever looks at them takes what is there first. So a line that was written before something else
    happened, such as an answer that came, is there for whoever looks because of that.
    """

    def __init__(self, stream: IO[str], told: Callable[[str | None], None]) -> None:
        """Begin to read.

        Args:
            stream: The pipe, read by nobody else.
            told: Is told of each line, and of the end by None; must not wait.
        """
        self._fd = stream.fileno()
        self._told = told
        self._lines: list[str] = []
        self._begun = b""
        self._ended = False
        self._lock = threading.Lock()
        os.set_blocking(self._fd, False)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def now(self) -> list[str]:
        """Return all lines that were written until now."""
        self._take()
        return self._lines

    def join(self) -> None:
        """Wait, bounded, until the pipe has ended."""
        self._thread.join(timeout=_STOP_SECONDS)

    def give_up(self) -> None:
        """Read no more: the pipe is about to be closed."""
        with self._lock:
            self._ended = True

    def _follow(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while not self._ended:
            poll.poll()
            self._take()

    def _take(self) -> None:
        with self._lock:
            while not self._ended:
                try:
                    data = os.read(self._fd, _CHUNK_BYTES)
                except BlockingIOError:
                    return
                if not data:
                    self._ended = True
                    data = b"\n" if self._begun else b""
                *lines, self._begun = (self._begun + data).split(b"\n")
                for line in lines:
                    self._lines.append(line.decode())
                    self._told(self._lines[-1])
                if self._ended:
                    self._told(None)


def _nobody(_: str | None) -> None:
    """Who needs not be told."""


class ServiceProcess:
    """A running `linkspan` command."""

    def __init__(self, popen: "subprocess.Popen[str]") -> None:
        self._popen = popen
        self._addresses: queue.SimpleQueue[dict[str, str] | None] = queue.SimpleQueue()
        assert popen.stdout is not None
        assert popen.stderr is not None
        self._output = _Lines(popen.stdout, self._look_for_ready)
        self._errors = _Lines(popen.stderr, _nobody)

    @property
    def output(self) -> list[str]:
        """The lines of standard output so far."""
        return self._output.now()

    @property
    def errors(self) -> list[str]:
        """The lines of standard error so far."""
        return self._errors.now()

    def wait_ready(self) -> dict[str, str]:
        """Return the addresses of the ready line; fails the test if there is none in time."""
        try:
            addresses = self._addresses.get(timeout=_READY_SECONDS)
        except queue.Empty:
            addresses = None
        assert addresses is not None, f"not ready: {self.output} {self.errors}"
        return addresses

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended, as far as is known."""
        return self._popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._popen.send_signal(number)

    def wait(self) -> int:
        """Wait for the end of the process, bounded; returns its exit status."""
        status = self._popen.wait(timeout=_STOP_SECONDS)
        self._output.join()
        self._errors.join()
        return status

    def stop(self) -> int:
        """Stop it as an operator would; returns the exit status."""
        if self._popen.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kill it, if it still runs, and release all it held."""
        if self._popen.poll() is None:
            self._popen.kill()
        self.wait()
        self._output.give_up()
        self._errors.give_up()
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if stream is not None:
                stream.close()

    def _look_for_ready(self, line: str | None) -> None:
        addresses = None if line is None else parse_ready_line(line)
        if line is None or addresses is not None:
            self._addresses.put(addresses)


@contextmanager
def linkspan(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path = REPOSITORY
) -> Generator[ServiceProcess]:
    """Run a `linkspan` command until the block is left.

    Args:
        arguments: The words after `linkspan`.
        env: Variables to set beside a clean environment without `OTEL_*` and `LINKSPAN_*`.
        cwd: The working directory.
    """
    process = ServiceProcess(
        subprocess.Popen(
            [sys.executable, "-m", "linkspan_cli", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**clean_environ(), **(env or {})},
        )
    )
    try:
        yield process
    finally:
        process.kill()


def clean_environ() -> dict[str, str]:
    """Return this process's environment without what would set Linkspan or OpenTelemetry up."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "LINKSPAN_"))
    }
