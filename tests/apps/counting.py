"""A server for tests that keeps counts in its sessions' storage, and fails or stops in every way."""

import asyncio
from typing import Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError

from linkspan_session.storage import session_storage

mcp = MCPServer("counting")

_held: dict[str, asyncio.Event] = {}


@mcp.tool()
async def read() -> dict[str, Any]:
    """Return all that this session stores."""
    return await session_storage().list()


@mcp.tool()
async def put(key: str, value: Any) -> str:
    """Store one value."""
    await session_storage().put(key, value)
    return "stored"


@mcp.tool()
async def increment(times: int) -> str:
    """Read a count, let others run, and write it back, in a transaction each time."""
    storage = session_storage()
    for _ in range(times):
        async with storage.transaction():
            count = await storage.get("count", 0)
            await asyncio.sleep(0)
            await storage.put("count", count + 1)
    return "counted"


@mcp.tool()
async def increment_alone(times: int) -> str:
    """Do the same, all of it committed with the answer."""
    storage = session_storage()
    await storage.exclusive()
    for _ in range(times):
        count = await storage.get("count", 0)
        await asyncio.sleep(0)
        await storage.put("count", count + 1)
    return "counted"


@mcp.tool()
async def fail(how: Literal["tool", "protocol", "bug"]) -> str:
    """Write within a transaction and outside of one, and fail."""
    await _write_both(f"fail {how}")
    match how:
        case "tool":
            raise ToolError("it did not work")
        case "protocol":
            raise MCPError(-32000, "it did not work")
        case "bug":
            raise ZeroDivisionError


@mcp.tool()
async def hold(name: str) -> str:
    """Write within a transaction and outside of one, and never answer."""
    await _write_both(name)
    _held.setdefault(name, asyncio.Event()).set()
    await asyncio.Event().wait()
    return "never"


@mcp.tool()
async def held(name: str) -> str:
    """Wait until `hold` has written."""
    await _held.setdefault(name, asyncio.Event()).wait()
    return "held"


async def _write_both(name: str) -> None:
    storage = session_storage()
    await storage.put(f"{name}: pending", name)
    async with storage.transaction():
        await storage.put(f"{name}: transaction", name)
    await storage.put(f"{name}: pending, too", b"bytes".hex())
