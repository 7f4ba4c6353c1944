"""A first server: notes that a client writes down and reads back.

The notes are in the memory of this process: they end with it, and no other process sees them.
"""

import secrets
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from pydantic import BaseModel

mcp = MCPServer("notes", version="1.0.0", instructions="Keeps notes, in one notebook per session.")

notebooks: dict[str, list[str]] = {}
"""All notes, by notebook. A notebook's name cannot be guessed, so only who was told it reads it."""


class Notebook(BaseModel):
    """What the tools answer: the notebook's name, to be given to the next call, and its notes."""

    notebook: str
    notes: list[str]


def find_notebook(ctx: Context, name: str) -> Notebook:
    """The named notebook; without a name the session's own, or a new one where there is no session.

    Clients of protocol version 2026-07-28 have no session: each of their calls stands alone.
    """
    if not name:
        # The SDK keeps one dictionary for each client connection, under no public name yet.
        session: dict[str, Any] = ctx.session._connection.state  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        name = session.setdefault("notebook", secrets.token_urlsafe(16))
        notebooks.setdefault(name, [])
    if name not in notebooks:
        raise ToolError(f"There is no notebook {name!r}")
    return Notebook(notebook=name, notes=notebooks[name])


@mcp.tool()
def add_note(text: str, ctx: Context, notebook: str = "") -> Notebook:
    """Write a note down; later calls find it with the notebook's name that this one answers."""
    found = find_notebook(ctx, notebook)
    notebooks[found.notebook].append(text)
    return find_notebook(ctx, found.notebook)


@mcp.tool()
def list_notes(ctx: Context, notebook: str = "") -> Notebook:
    """Read all notes back, the oldest first."""
    return find_notebook(ctx, notebook)


@mcp.resource("notes://{notebook}", mime_type="text/plain")
def notes_text(notebook: str) -> str:
    """One notebook as a text, a line for each note."""
    if notebook not in notebooks:
        raise ResourceNotFoundError(f"There is no notebook {notebook!r}")
    return "\n".join(notebooks[notebook])


@mcp.prompt()
def draft(topic: str) -> str:
    """Let the client's model write a note."""
    return f"Write one short note about {topic} and keep it with the tool add_note."
