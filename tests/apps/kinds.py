"""One server, in every form that can be hosted beside the SDK's `MCPServer`."""

from typing import Any

from fastmcp import FastMCP
from mcp.server import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)

fastmcp: FastMCP[Any] = FastMCP("kinds")


@fastmcp.tool
def add(a: int, b: int) -> int:
    """Add two whole numbers."""
    return a + b


async def list_tools(
    ctx: ServerRequestContext[Any], params: PaginatedRequestParams | None
) -> ListToolsResult:
    """List the one tool."""
    return ListToolsResult(tools=[Tool(name="add", input_schema={"type": "object"})])


async def call_tool(
    ctx: ServerRequestContext[Any], params: CallToolRequestParams
) -> CallToolResult:
    """Add."""
    arguments = params.arguments or {}
    total = str(arguments["a"] + arguments["b"])
    return CallToolResult(content=[TextContent(type="text", text=total)])


server: Server[Any] = Server("kinds", on_list_tools=list_tools, on_call_tool=call_tool)


def factory() -> Server[Any]:
    """Make the server."""
    return server
