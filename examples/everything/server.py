"""One MCP server with every feature: what the conformance suite calls, and a few plain tools.

The loader reads this file by its path (`examples/everything/server.py:mcp`) and puts the folder in
front of `sys.path`, so the parts of this server are sibling modules with a prefixed name. Each part
adds its own handlers to the server object that is made here:

- `everything_content`: what a server offers (content types, prompts, resources, completion);
- `everything_callbacks`: what a handler does to its client while it runs (logging, progress,
  sampling, elicitation, notifications);
- `everything_input_required`: how a handler asks its client since 2026-07-28, by answering
  `input_required` and being called again;
- `everything_tasks`: tools that go on after their request, as tasks that the client polls.

There is no transport and no session code here: that is the host's task.
"""

import asyncio
import os

# mypy does not look into a script's own folder; it checks these modules by themselves.
import everything_callbacks  # type: ignore[import-not-found]
import everything_content  # type: ignore[import-not-found]
import everything_input_required  # type: ignore[import-not-found]
import everything_tasks  # type: ignore[import-not-found]
from mcp.server import CacheHint, MCPServer
from mcp.server.mcpserver import Context, RequestStateSecurity
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

STATE_KEY_VARIABLE = "EVERYTHING_REQUEST_STATE_KEY"
"""The secret, at least 32 bytes, that seals `requestState`: one for all processes that serve."""


def request_state_security() -> RequestStateSecurity:
    """Seal `requestState` with the shared secret; where none is set, with one of this process."""
    secret = os.environ.get(STATE_KEY_VARIABLE)
    return RequestStateSecurity(keys=[secret]) if secret else RequestStateSecurity.ephemeral()


mcp = MCPServer(
    name="everything",
    title="Everything",
    version="1.0.0",
    instructions="Exercises every MCP feature. The plainest tools to start with: `add` and `echo`.",
    tools=[everything_content.json_schema_tool()],
    extensions=[everything_tasks.tasks],
    request_state_security=request_state_security(),
    cache_hints={
        # The lists are the same for every client and change only with a new version of this file.
        "tools/list": CacheHint(ttl_ms=60_000, scope="public"),
        "prompts/list": CacheHint(ttl_ms=60_000, scope="public"),
        "resources/list": CacheHint(ttl_ms=60_000, scope="public"),
        "resources/templates/list": CacheHint(ttl_ms=60_000, scope="public"),
    },
)

READ_ONLY = ToolAnnotations(read_only_hint=True)


@mcp.tool(annotations=READ_ONLY)
def add(a: int, b: int) -> int:
    """Add two whole numbers."""
    return a + b


@mcp.tool(annotations=READ_ONLY)
def echo(text: str) -> str:
    """Return the text unchanged."""
    return text


@mcp.tool(annotations=READ_ONLY)
async def sleep(seconds: float) -> str:
    """Wait for that many seconds, then say so. Cancelling the call ends the wait at once."""
    await asyncio.sleep(seconds)
    return f"Slept for {seconds:g} s."


@mcp.tool(annotations=READ_ONLY)
async def count(to: int, every_seconds: float, ctx: Context) -> str:
    """Count up to a number, reporting each as progress: what a long call looks like."""
    for number in range(1, to + 1):
        await ctx.report_progress(number, to, f"{number} of {to}")
        await asyncio.sleep(every_seconds)
    return f"Counted to {to}."


@mcp.tool(annotations=READ_ONLY)
def fail(message: str) -> str:
    """Fail with the message: an error that the client's model is meant to read."""
    raise ToolError(message)


everything_content.register(mcp)
everything_callbacks.register(mcp)
everything_input_required.register(mcp)
everything_tasks.register(mcp)
