"""Linkspan as it is compared: workers, session servers, a store and a collector, set up in many ways.

Starts the two services as one would by hand, with their default settings, of this checkout or of
another one. Above lies `course`; below lies `arms`. Invariants: all processes are gone when a block
is left; the collector ends last, so that no span is lost to the order in which things end.
"""

import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.processes import REPOSITORY, ServiceProcess, clean_environ

from bench.compare.arms import PEERS_FOLDER, Arm, Running, script
from bench.processes import valkey

LINKSPAN: Final = "Linkspan"

MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108 - files in memory, and no secrets
"""Where files are in memory, on Linux."""

_HOSTED: Final = str(PEERS_FOLDER / "hosted.py") + ":mcp"

_SLEEP_AFTER_SECONDS: Final = 600
"""Sessions are to be awake for as long as they are measured."""

_COUNT_SECONDS: Final = 120.0
"""How long the collector may take to count."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How Linkspan is set up.

    Attributes:
        tracing: The share of requests whose spans are sent to a collector; None for no tracing.
        store: `SQLite`, `memory` for SQLite on a file system in memory, or `Valkey`.
        sessions: How many session servers.
        workers: How many workers.
        tree: The checkout.
        python: The interpreter that has what the checkout needs.
    """

    tracing: float | None = 1.0
    store: str = "SQLite"
    sessions: int = 1
    workers: int = 1
    tree: Path = REPOSITORY
    python: str = sys.executable

    @contextmanager
    def start(self, folder: Path, tools: int) -> Generator[Running]:
        """Run it until the block is left; spans are counted when all its processes have ended."""
        with ExitStack() as stack:
            env = {"BENCH_TOOLS": str(tools), "PYTHONPATH": os.pathsep.join(_paths(self.tree))}
            sink = None
            if self.tracing is not None:
                command = (sys.executable, "-m", "bench.compare.sink", str(folder / "spans"))
                endpoint, sink = stack.enter_context(script(*command, env={}))
                env |= _tracing(endpoint, self.tracing)
            with ExitStack() as serving:
                running = self._serve(serving, folder, env)
                yield running
            if sink is not None:
                running.spans = int(sink.communicate(timeout=_COUNT_SECONDS)[0])

    def _serve(self, stack: ExitStack, folder: Path, env: dict[str, str]) -> Running:
        store, pids = stack.enter_context(_store(self.store, folder))
        words = ["--app", _HOSTED, "--store", store, "--sleep-after", str(_SLEEP_AFTER_SECONDS)]
        sessions = [self._launch(stack, "session", *words, env=env) for _ in range(self.sessions)]
        targets = ",".join(each.wait_ready()["grpc"] for each in sessions)
        workers = [
            self._launch(stack, "worker", "--session", targets, env=env)
            for _ in range(self.workers)
        ]
        urls = tuple(each.wait_ready()["mcp"] for each in workers)
        stack.callback(_end, sessions)
        stack.callback(_end, workers)  # first
        roles = {
            "worker": tuple(each.pid for each in workers),
            "session": tuple(each.pid for each in sessions),
        }
        return Running(urls, {**roles, **pids})

    def _launch(
        self, stack: ExitStack, service: str, *words: str, env: dict[str, str]
    ) -> ServiceProcess:
        command = ["-m", "linkspan_cli", service, *words, "--port", "0", "--with-parent"]
        process = ServiceProcess(
            subprocess.Popen(
                [self.python, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=self.tree,
                env={**clean_environ(), **env},
            )
        )
        stack.callback(process.kill)
        return process


def _end(processes: list[ServiceProcess]) -> None:
    """Stop processes as an operator would, so that their last spans are sent."""
    for process in processes:
        process.signal(signal.SIGTERM)
    for process in processes:
        process.wait()


def _paths(tree: Path) -> list[str]:
    """Return where the packages of a checkout are."""
    project = tomllib.loads((tree / "pyproject.toml").read_text())
    folders: list[str] = project["tool"]["hatch"]["build"]["dev-mode-dirs"]
    return [str(tree / folder) for folder in folders]


def _tracing(endpoint: str, share: float) -> dict[str, str]:
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"} if share < 1 else {}
    argument = {"OTEL_TRACES_SAMPLER_ARG": str(share)} if share < 1 else {}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **sampler, **argument}


@contextmanager
def _store(store: str, folder: Path) -> Generator[tuple[str, dict[str, tuple[int, ...]]]]:
    """Yield the address of a store, and its processes."""
    if store == "Valkey":
        with valkey(folder / "valkey", fsync="everysec") as server:
            yield server.url, {"store": (server.pid,)}
        return
    with ExitStack() as stack:
        if store == "memory":
            temporary = tempfile.TemporaryDirectory(dir=MEMORY_FOLDER)
            folder = Path(stack.enter_context(temporary))
        yield f"sqlite:///{folder}/sessions.db", {}


def linkspan(name: str = LINKSPAN, *kinds: str, setup: Setup | None = None) -> list[Arm]:
    """Return Linkspan in one set-up, once for each kind of answer, all on the same processes."""
    setup = setup or Setup()
    return [Arm(name, kind, name, setup.start) for kind in kinds]
