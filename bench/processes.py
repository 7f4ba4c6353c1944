"""Session servers and a worker as benches run them, each a process; and what a process costs.

The processes are those of `tests.support.processes`: the real commands with their default settings,
on free ports of loopback.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from tests.support.processes import ServiceProcess, clean_environ, linkspan
from tests.support.valkey import ValkeyServer, running_valkey

from linkspan_process.ready import parse_ready_line

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_STOP_SECONDS: Final = 20.0


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used so far, all threads, to 10 ms (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user_ticks, system_ticks = int(fields[11]), int(fields[12])
    return (user_ticks + system_ticks) / _TICKS_A_SECOND


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has resident (proc(5), statm)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


@dataclass(slots=True)
class SessionServer:
    """A session server.

    Attributes:
        process: Its process; another one after a restart.
        address: Where it serves gRPC; stays the same.
    """

    process: ServiceProcess
    address: str


class Deployment:
    """Session servers on one store, and a worker before them. Made by `deployed`."""

    def __init__(
        self, stack: ExitStack, store: str, app: str, *arguments: str, env: dict[str, str]
    ) -> None:
        self._stack = stack
        self._words = ("session", "--app", app, "--store", store, "--with-parent", *arguments)
        self._env = env
        self.servers: list[SessionServer] = []
        self.worker: ServiceProcess
        self.url = ""
        """Where MCP clients post to."""

    def start(self, servers: int) -> None:
        """Start so many session servers at once, then a worker for all of them."""
        started = [self._start("0") for _ in range(servers)]
        self.servers = [SessionServer(each, each.wait_ready()["grpc"]) for each in started]
        targets = ",".join(server.address for server in self.servers)
        self.worker = self._stack.enter_context(
            linkspan("worker", "--session", targets, "--port", "0", "--with-parent", env=self._env)
        )
        self.url = self.worker.wait_ready()["mcp"]

    def server_at(self, address: str) -> SessionServer:
        """Return the session server at an address."""
        return next(server for server in self.servers if server.address == address)

    def restart(self, server: SessionServer) -> None:
        """Start a session server anew that was killed, on the port that it had; until it serves."""
        server.process.kill()
        server.process = self._start(server.address.rpartition(":")[2])
        server.process.wait_ready()

    def stop(self) -> None:
        """Stop all as an operator would, so that the sessions are given back."""
        for processes in ([self.worker], [server.process for server in self.servers]):
            for process in processes:
                process.signal(signal.SIGTERM)
            for process in processes:
                process.wait()

    def _start(self, port: str) -> ServiceProcess:
        return self._stack.enter_context(linkspan(*self._words, "--port", port, env=self._env))


@contextmanager
def deployed(
    store: str, app: str, *arguments: str, servers: int = 1, env: dict[str, str] | None = None
) -> Generator[Deployment]:
    """Run session servers and a worker until the block is left.

    Args:
        store: The address of the store.
        app: What each session server hosts.
        arguments: More words for each `linkspan session`.
        servers: How many session servers.
        env: More variables for all processes.
    """
    with ExitStack() as stack:
        deployment = Deployment(stack, store, app, *arguments, env=env or {})
        deployment.start(servers)
        yield deployment
        deployment.stop()


@dataclass(frozen=True, slots=True)
class Valkey:
    """A running Valkey.

    Attributes:
        url: Its address, as `--store` takes it.
        pid: Its process.
        server: To ask it things.
    """

    url: str
    pid: int
    server: ValkeyServer

    def info(self, section: str) -> dict[str, Any]:
        """Return what `INFO` tells, as redis-py reads it."""
        return cast("dict[str, Any]", self.server.ask("INFO", section))


@contextmanager
def valkey(folder: Path, *, fsync: str) -> Generator[Valkey]:
    """Run Valkey with an append-only file until the block is left.

    Args:
        folder: Where its data is.
        fsync: `everysec`, which keeps all that was acknowledged unless the machine dies, as SQLite
            does here; or `always`, which keeps it then, too.
    """
    with running_valkey(folder, options=("--appendfsync", fsync)) as server:
        info = Valkey(server.url, 0, server).info("server")
        yield Valkey(server.url, info["process_id"], server)


@contextmanager
def script(*command: str, ready: str) -> Generator[tuple[str, int]]:
    """Run a Python script that prints a ready line and ends with its standard input.

    Args:
        command: The words after the interpreter.
        ready: Which address of the ready line is wanted.

    Yields:
        The address and the process's id.
    """
    process = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=clean_environ(),
    )
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        yield (parse_ready_line(line) or {})[ready], process.pid
    finally:
        process.communicate(timeout=_STOP_SECONDS)


async def wait_gone(process: ServiceProcess) -> None:
    """Wait until a process that was killed has ended."""
    await asyncio.to_thread(process.wait)


class CpuMeter:
    """What named processes spend between two moments."""

    def __init__(self, **pids: Sequence[int]) -> None:
        """Begin to measure.

        Args:
            pids: Process ids by what they are: `worker=[1], session=[2, 3]`.
        """
        self._pids = pids
        self._before = self._now()

    def spent(self) -> dict[str, float]:
        """Return the CPU seconds since the beginning, by name."""
        now = self._now()
        return {name: now[name] - self._before[name] for name in now}

    def _now(self) -> dict[str, float]:
        return {name: sum(map(cpu_seconds, pids)) for name, pids in self._pids.items()}
