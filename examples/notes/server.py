"""A first server: notes that a client writes down and reads back.

A session's notes are in its storage, which Linkspan keeps: they are there after a crash, until the
session ends. Clients without a session name a notebook in the memory of this process, and lose it
with the process.
"""

import secrets

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from pydantic import BaseModel

from linkspan_session.storage import NoSessionStorageError, session_storage

mcp = MCPServer("notes", version="1.0.0", instructions="Keeps notes, in one notebook per session.")

OWN = "own"
"""The name of every session's own notebook."""

notebooks: dict[str, list[str]] = {}
"""The others. A notebook's name cannot be guessed, so only who was told it reads it."""


class Notebook(BaseModel):
    """What the tools answer: the notebook's name, to be given to the next call, and its notes."""

    notebook: str
    notes: list[str]


def in_session() -> bool:
    """Whether the call has a session: not in protocol version 2026-07-28, nor without Linkspan."""
    try:
        session_storage()
    except NoSessionStorageError:
        return False
    return True


async def read_notes(notebook: str) -> list[str] | None:
    """The notes of a notebook; None if there is no such notebook."""
    if notebook == OWN and in_session():
        notes: list[str] = await session_storage().get("notes", [])
        return notes
    return notebooks.get(notebook)


async def open_notebook(name: str) -> Notebook:
    """The named notebook; a new one for who has no session and does not name one."""
    if name == OWN and not in_session():
        name = secrets.token_urlsafe(16)
        notebooks[name] = []
    notes = await read_notes(name)
    if notes is None:
        raise ToolError(f"There is no notebook {name!r}")
    return Notebook(notebook=name, notes=notes)


@mcp.tool()
async def add_note(text: str, notebook: str = OWN) -> Notebook:
    """Write a note down; later calls find it with the notebook's name that this one answers."""
    if in_session():
        await session_storage().exclusive()  # one note after another, so that none is lost
    found = await open_notebook(notebook)
    found.notes.append(text)
    if found.notebook == OWN:
        await session_storage().put("notes", found.notes)  # on record before the client hears of it
    else:
        notebooks[found.notebook] = found.notes
    return found


@mcp.tool()
async def list_notes(notebook: str = OWN) -> Notebook:
    """Read all notes back, the oldest first."""
    return await open_notebook(notebook)


@mcp.resource("notes://{notebook}", mime_type="text/plain")
async def notes_text(notebook: str) -> str:
    """One notebook as a text, a line for each note."""
    notes = await read_notes(notebook)
    if notes is None:
        raise ResourceNotFoundError(f"There is no notebook {notebook!r}")
    return "\n".join(notes)


@mcp.prompt()
def draft(topic: str) -> str:
    """Let the client's model write a note."""
    return f"Write one short note about {topic} and keep it with the tool add_note."
