"""The things that are compared: what an arm is, what its processes cost, and the peers.

Above lie `deployments`, which starts Linkspan, and `course`. Invariants: a server is gone when its
block is left; nothing is set for one that would make it slower than it is.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from tests.peers.node import install, node_binary
from tests.support.processes import REPOSITORY, clean_environ

from bench.processes import resident_bytes
from linkspan_process.ready import parse_ready_line

PEERS_FOLDER: Final = REPOSITORY / "bench" / "peers"

_STOP_SECONDS: Final = 20.0


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used so far, with all its threads.

    Its clock's number is made as clock_getcpuclockid(3) makes it on Linux, for which Python has no
    name: `(~pid) << 3`, and 2 for the time that the scheduler has counted.
    """
    return time.clock_gettime((~pid) << 3 | 2)


@dataclass(slots=True)
class Running:
    """A server that runs.

    Attributes:
        urls: Where MCP clients post to; clients are spread over them.
        pids: Its processes, by what they are.
        requests: How many requests it was sent, as far as somebody counts them.
        spans: How many spans of it arrived, once it has stopped; None if it sends none.
    """

    urls: tuple[str, ...]
    pids: Mapping[str, tuple[int, ...]]
    requests: int = 0
    spans: int | None = None

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds so far, by what its processes are."""
        return {role: sum(map(cpu_seconds, pids)) for role, pids in self.pids.items()}

    def resident(self) -> int:
        """Return how much memory its processes have resident together, in bytes."""
        return sum(resident_bytes(pid) for pids in self.pids.values() for pid in pids)


Start = Callable[[Path, int], AbstractContextManager[Running]]
"""Starts a server, with a new folder for its data, and so many tools."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing that is compared.

    Attributes:
        name: What it is called.
        kind: How it answers, JSON or SSE.
        server: Which server it is; arms of one server share its processes.
        start: Starts that.
    """

    name: str
    kind: str
    server: str
    start: Start = field(compare=False)

    @property
    def label(self) -> str:
        """Its name, and how it answers."""
        return f"{self.name}, {self.kind}"


@contextmanager
def script(*command: str, env: Mapping[str, str]) -> Generator["tuple[str, subprocess.Popen[str]]"]:
    """Run a program that prints a ready line with one address, until the block is left.

    Args:
        command: The program and its arguments.
        env: Variables beside those of this process.

    Yields:
        The address and the process.

    Raises:
        RuntimeError: It did not get ready.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=REPOSITORY,
        env={**clean_environ(), **env},
    )
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        addresses = parse_ready_line(line)
        if not addresses:
            raise RuntimeError(f"{' '.join(command)} did not get ready")
        yield next(iter(addresses.values())), process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=_STOP_SECONDS)


@contextmanager
def _peer(module: str, kind: str, _folder: Path, tools: int) -> Generator[Running]:
    command = (sys.executable, "-m", f"bench.peers.{module}", kind.lower())
    with script(*command, env={"BENCH_TOOLS": str(tools)}) as (url, process):
        yield Running((url,), {"server": (process.pid,)})


@contextmanager
def _on_node(kind: str, _folder: Path, tools: int) -> Generator[Running]:
    program = install(PEERS_FOLDER) / "typescript.mjs"
    command = (str(node_binary()), str(program), kind.lower())
    with script(*command, env={"BENCH_TOOLS": str(tools)}) as (url, process):
        yield Running((url,), {"server": (process.pid,)})


SDK: Final = "MCP SDK"
FASTMCP: Final = "FastMCP"
TYPESCRIPT: Final = "TypeScript SDK"

_STARTS: Final[dict[str, Callable[[str, Path, int], AbstractContextManager[Running]]]] = {
    SDK: partial(_peer, "sdk_server"),
    FASTMCP: partial(_peer, "fastmcp_server"),
    TYPESCRIPT: _on_node,
}


def peers(*kinds: str) -> list[Arm]:
    """Return the peers, each once for each kind of answer: each is a server of its own."""
    return [
        Arm(name, kind, f"{name}, {kind}", partial(start, kind))
        for name, start in _STARTS.items()
        for kind in kinds
    ]
