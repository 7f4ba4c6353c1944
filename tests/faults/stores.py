"""The stores that faults are tried over."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.valkey import running_valkey

KINDS: Final = ("sqlite", "valkey")


@contextmanager
def store_of(kind: str, folder: Path) -> Generator[str]:
    """Give the address of an empty store until the block is left."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'sessions.db'}"
        return
    with running_valkey(folder / "valkey") as server:
        yield server.url
