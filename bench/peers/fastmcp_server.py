"""The tools served by FastMCP: `python -m bench.peers.fastmcp_server json` or `... sse`.

Sessions are in memory, and there is no event store.
"""

import sys

from fastmcp import Context, FastMCP
from fastmcp.tools import Tool

from bench.peers import hosted
from bench.peers.serving import serve

mcp = FastMCP("bench")

for _tool in (hosted.echo, hosted.text10k, hosted.text1m):
    mcp.add_tool(Tool.from_function(_tool, output_schema=None))
for _name, _description in hosted.more_tools():
    mcp.add_tool(
        Tool.from_function(hosted.search, name=_name, description=_description, output_schema=None)
    )


@mcp.tool(output_schema=None)
async def join(context: Context) -> str:
    """Have this session be told by broadcasts."""
    return str(hosted.AUDIENCE.join(context.session))


@mcp.tool(output_schema=None)
async def broadcast(uri: str) -> str:
    """Notify all sessions that joined."""
    return str(await hosted.AUDIENCE.tell(uri))


if __name__ == "__main__":
    serve(mcp.http_app(json_response=sys.argv[1] == "json"))
