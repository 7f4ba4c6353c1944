"""A server whose tools say, log and raise whatever they are told."""

import logging
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, TextContent

mcp = MCPServer("parrot")


@mcp.tool()
async def say(text: str, ctx: Context[Any, Any]) -> str:
    """Report a text as progress, and return it."""
    await ctx.report_progress(1, 2, text)
    return text


@mcp.tool()
def note(text: str) -> str:
    """Log a text."""
    logging.getLogger("parrot").warning("noted: %s", text)
    return "noted"


@mcp.tool()
def fail(text: str) -> str:
    """Raise an exception with a text, and log it."""
    error = LookupError(text)
    logging.getLogger("parrot").error("failed", exc_info=error)
    raise error


@mcp.tool()
def count() -> CallToolResult:
    """Return a number of more digits than Python writes."""
    text = TextContent(type="text", text="many")
    return CallToolResult(content=[text], structured_content={"n": 10**5000})
