"""The server that is measured: tools that do next to nothing, so that what is around them shows.

Loaded by its path, by session servers and by `sdk_peer`. `BENCH_MARKS` names the folder of the marks
that `stay` leaves.
"""

import asyncio
import os
from pathlib import Path

from mcp.server import MCPServer
from mcp_types import ToolAnnotations

from linkspan_session.storage import session_storage

mcp = MCPServer("bench")

_HARMLESS = ToolAnnotations(read_only_hint=True)


@mcp.tool()
async def echo(value: int) -> int:
    """Return the value."""
    return value


@mcp.tool()
async def keep(value: int) -> int:
    """Store the value, which is on record with the answer, and return it."""
    await session_storage().put("value", value)
    return value


@mcp.tool(annotations=_HARMLESS)
async def kept() -> int:
    """Return the value that is stored; -1 if none is."""
    value: int = await session_storage().get("value", -1)
    return value


@mcp.tool(annotations=_HARMLESS)
async def where() -> int:
    """Return the id of the process that answers."""
    return os.getpid()


@mcp.tool(annotations=_HARMLESS)
async def stay(name: str) -> int:
    """Leave a mark and never answer; if the mark is there already, answer in which process."""
    if _mark(name):
        await asyncio.Event().wait()
    return os.getpid()


def _mark(name: str) -> bool:
    """Leave a mark; returns whether it is new."""
    path = Path(os.environ["BENCH_MARKS"]) / name
    new = not path.exists()
    path.touch()
    return new
