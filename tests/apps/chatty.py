"""A server whose file prints, which standard output has to stand."""

from mcp.server import MCPServer

print("ready to talk")
print("x" * 1_000_000)

mcp = MCPServer(name="chatty")
