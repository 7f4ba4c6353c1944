"""A server for tests of broken networks: a tool that counts how often it runs, and waits."""

import asyncio
from collections import Counter, defaultdict
from typing import Final

from mcp.server import MCPServer
from mcp_types import ToolAnnotations

from linkspan_session.storage import session_storage

mcp = MCPServer("waiting")

_RUNS: Final = "runs"
_runs: Counter[str] = Counter()
_marks: defaultdict[tuple[str, str], asyncio.Event] = defaultdict(asyncio.Event)


async def _add_one(key: str) -> int:
    storage = session_storage()
    async with storage.transaction():
        count: int = await storage.get(key, 0) + 1
        await storage.put(key, count)
    return count


@mcp.tool()
async def add_one() -> int:
    """Add one to the session's count; answers the count."""
    return await _add_one("count")


@mcp.tool()
async def write_with_answer(name: str) -> str:
    """Count this run in memory only, and write something that is committed with the answer."""
    _runs[name] += 1
    await session_storage().put(name, 1)
    return name


@mcp.tool()
def runs(name: str) -> int:
    """Return how often `write_with_answer` has run in this process."""
    return _runs[name]


@mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
async def counts() -> dict[str, int]:
    """Return all that this session has counted."""
    return await session_storage().list()


@mcp.tool()
async def run_and_wait(name: str, length: int = 0) -> str:
    """Count this run, wait until released, and answer with so much text."""
    await _add_one(_RUNS)
    _marks[name, "started"].set()
    await _marks[name, "released"].wait()
    return "x" * length


@mcp.tool()
async def started(name: str) -> str:
    """Wait until `run_and_wait` has counted its run."""
    await _marks[name, "started"].wait()
    return name


@mcp.tool()
async def release(name: str) -> str:
    """Let `run_and_wait` go on."""
    _marks[name, "released"].set()
    return name
