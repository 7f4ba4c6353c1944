"""A server whose resources cannot be read, each in its way."""

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError

mcp = MCPServer("secret-uris")


@mcp.resource("note://broken/{name}{?token}")
def broken(name: str, token: str = "") -> str:
    """Fail as nobody meant it to."""
    raise RuntimeError(f"{name} is broken for whoever has {len(token)} characters")


@mcp.resource("note://refused/{name}{?token}")
def refused(name: str, token: str = "") -> str:
    """Fail on purpose."""
    raise ResourceError(f"{name} is refused to whoever has {len(token)} characters")
