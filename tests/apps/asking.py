"""A server whose tools ask their client for its roots, and its user to visit an address."""

import warnings

from mcp.server.mcpserver import Context, MCPServer

warnings.simplefilter("ignore")  # roots are deprecated as of 2026-07-28, and still part of MCP

mcp = MCPServer(name="asking")


@mcp.tool()
async def roots(ctx: Context) -> str:
    """Name the client's roots; the question goes out on the listening stream."""
    listed = await ctx.session.list_roots()  # pyright: ignore[reportDeprecated]
    return ", ".join(str(root.uri) for root in listed.roots)


@mcp.tool()
async def visit(ctx: Context) -> str:
    """Ask the user to visit an address."""
    answer = await ctx.session.elicit_url(
        "Please sign in", "https://login.example/", "visit-1", related_request_id=ctx.request_id
    )
    return str(answer.action)
