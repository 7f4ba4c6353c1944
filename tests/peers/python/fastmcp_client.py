"""FastMCP's client in a process of its own. Run as `python fastmcp_client.py ADDRESS`.

Prints one JSON line with what it saw and exits with 0.
"""

import asyncio
import json
import sys

from fastmcp import Client


async def watch(address: str) -> dict[str, object]:
    """Connect, list, call with progress, read, get a prompt."""
    seen: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with Client(address) as client:
        tools = [tool.name for tool in await client.list_tools()]
        added = await client.call_tool("add", {"a": 2, "b": 3})
        arguments = {"to": 3, "every_seconds": 0.01}
        await client.call_tool("count", arguments, progress_handler=on_progress)
        (resource, *_) = await client.read_resource("test://static-text")
        prompt = await client.get_prompt("test_simple_prompt")
        return {
            "add": getattr(added.content[0], "text", ""),
            "listed": "add" in tools,
            "progress": seen,
            "resource": str(getattr(resource, "text", "")),
            "messages": len(prompt.messages),
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(watch(sys.argv[1]))), flush=True)
