"""A server that says more than a reader may want to hear."""

from mcp.server.mcpserver import Context, MCPServer

mcp = MCPServer(name="flood")

_CHUNK = "x" * 64 * 1024


@mcp.tool()
async def flood(ctx: Context, chunks: int) -> str:
    """Report progress with 64 KiB of text each time."""
    for number in range(chunks):
        await ctx.report_progress(number, chunks, _CHUNK)
    return "done"


@mcp.tool()
def ping_me() -> str:
    """Answer at once."""
    return "pong"
