"""Linkspan's processes as tests start them: the real commands, on free ports, bounded in time.

A process is stopped with the block that started it. It also watches its standard input, so it ends
with the test run even if that is killed.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from linkspan_process.ready import parse_ready_line

REPOSITORY: Final = Path(__file__).parents[2]
EVERYTHING: Final = str(REPOSITORY / "examples" / "everything" / "server.py") + ":mcp"

_READY_SECONDS: Final = 40.0
_STOP_SECONDS: Final = 40.0


class ServiceProcess:
    """A running `linkspan` command."""

    def __init__(self, popen: "subprocess.Popen[str]") -> None:
        self._popen = popen
        self._addresses: queue.SimpleQueue[dict[str, str] | None] = queue.SimpleQueue()
        self.output: list[str] = []
        """The lines of standard output so far."""
        self.errors: list[str] = []
        """The lines of standard error so far."""
        assert popen.stdout is not None
        assert popen.stderr is not None
        self._readers = [
            threading.Thread(target=self._read_output, args=(popen.stdout,), daemon=True),
            threading.Thread(target=self._read_errors, args=(popen.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

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
        for reader in self._readers:
            reader.join(timeout=_STOP_SECONDS)
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
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if stream is not None:
                stream.close()

    def _read_output(self, stream: IO[str]) -> None:
        told = False
        for line in stream:
            self.output.append(line.rstrip("\n"))
            addresses = parse_ready_line(line)
            if addresses is not None and not told:
                told = True
                self._addresses.put(addresses)
        if not told:
            self._addresses.put(None)

    def _read_errors(self, stream: IO[str]) -> None:
        self.errors.extend(line.rstrip("\n") for line in stream)


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
