"""The server that is compared, for the MCP SDK: tools that do next to nothing, and many beside them.

Loaded by its path, by session servers; so it imports nothing of the project. The other peers have
the same tools with the same names, descriptions, arguments and answers: text, without structured
content, so that all answers are of one size. `join` and `broadcast` keep the sessions of clients
that listen, and tell them all, which is no part of MCP: servers that notify do it like this.
"""

import asyncio
import os
from typing import Annotated, Final

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.session import ServerSession
from pydantic import Field

TEXT_10K: Final = "abcdefghij" * 1_000
TEXT_1M: Final = "abcdefghij" * 100_000

PLAIN_TOOLS: Final = 5
"""How many tools there are at least."""

TOOLS: Final = max(PLAIN_TOOLS, int(os.environ.get("BENCH_TOOLS", "0")))
"""How many there are."""

_AT_ONCE: Final = 64
"""How many sessions are told at the same time."""


async def echo(text: str) -> str:
    """Return the text."""
    return text


async def text10k() -> str:
    """Return ten thousand characters."""
    return TEXT_10K


async def text1m() -> str:
    """Return a million characters."""
    return TEXT_1M


async def search(
    query: Annotated[str, Field(description="What to look for, in plain words.")],
    limit: Annotated[int, Field(description="How many results at most.", ge=1, le=100)] = 10,
    newest_first: Annotated[bool, Field(description="Whether to sort by age.")] = False,
    tags: Annotated[list[str] | None, Field(description="Only what has one of these tags.")] = None,
) -> str:
    """Stand in for a tool of usual size; never called."""
    return f"{query} {limit} {newest_first} {tags}"


_SEARCH: Final = (
    "Search collection {:02} for documents that match a query, with filters, and return the best "
    "matches with their titles, addresses and short excerpts."
)


def more_tools() -> list[tuple[str, str]]:
    """Return the names and descriptions of the tools that are there to be listed."""
    return [
        (
            f"search_{number:02}",
            _SEARCH.format(number),
        )
        for number in range(TOOLS - PLAIN_TOOLS)
    ]


class Audience:
    """The sessions of clients that listen."""

    def __init__(self) -> None:
        self._sessions: list[ServerSession] = []

    def join(self, session: ServerSession) -> int:
        """Add a session; returns how many there are."""
        self._sessions.append(session)
        return len(self._sessions)

    async def tell(self, uri: str) -> int:
        """Notify all that a resource was updated; returns how many."""
        waiting = iter(self._sessions)

        async def tell_some() -> None:
            for session in waiting:
                await session.send_resource_updated(uri)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(tell_some())
        return len(self._sessions)


AUDIENCE: Final = Audience()

mcp = MCPServer("bench")

for _tool in (echo, text10k, text1m):
    mcp.add_tool(_tool, structured_output=False)
for _name, _description in more_tools():
    mcp.add_tool(search, name=_name, description=_description, structured_output=False)


@mcp.tool(structured_output=False)
async def join(context: Context) -> str:
    """Have this session be told by broadcasts."""
    return str(AUDIENCE.join(context.session))


@mcp.tool(structured_output=False)
async def broadcast(uri: str) -> str:
    """Notify all sessions that joined."""
    return str(await AUDIENCE.tell(uri))
