"""The notes example keeps one notebook a session, and a named one for clients without a session.

That it outlives `kill -9` is in `tests/integration/test_storage.py`.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.shared.exceptions import MCPError
from tests.examples.loading import EXAMPLES, load_example
from tests.support.peer import Peer, session_at
from tests.support.stack import Stack, running_stack

NOTES = str(EXAMPLES / "notes" / "server.py") + ":mcp"

# --- in sessions of Linkspan ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("notes"), app=NOTES) as running:
        yield running


def listed(peer: Peer, **arguments: Any) -> Any:
    return peer.call("list_notes", **arguments).result["structuredContent"]


def test_a_session_reads_its_own_notes_only(stack: Stack) -> None:
    with session_at(stack.mcp) as one, session_at(stack.mcp) as other:
        one.call("add_note", text="milk")
        added = one.call("add_note", text="bread").result["structuredContent"]
        other.call("add_note", text="ink")
        assert added == {"notebook": "own", "notes": ["milk", "bread"]}
        assert listed(one) == listed(one, notebook="own") == added
        assert listed(other) == {"notebook": "own", "notes": ["ink"]}
        (content,) = one.ask("resources/read", {"uri": "notes://own"}).result["contents"]
        assert content["text"] == "milk\nbread"


def test_over_http_a_client_without_a_session_names_its_notebook(stack: Stack) -> None:
    with session_at(stack.mcp) as peer:

        def call(tool: str, **arguments: Any) -> Any:
            params = {"name": tool, "arguments": arguments}
            return peer.ask_modern("tools/call", params).result["structuredContent"]

        name = call("add_note", text="milk")["notebook"]
        assert call("add_note", text="bread", notebook=name)["notes"] == ["milk", "bread"]
        assert call("list_notes")["notes"] == []
        assert listed(peer)["notes"] == []


# --- without a session, or without Linkspan -------------------------------------------------------


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def notes() -> MCPServer:
    return load_example("notes")


async def read_back(client: Client, **arguments: Any) -> list[str]:
    result = await client.call_tool("list_notes", arguments)
    assert result.structured_content is not None
    kept: list[str] = result.structured_content["notes"]
    return kept


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_name_leads_back_to_the_notes(notes: MCPServer, mode: Any) -> None:
    async with Client(notes, mode=mode) as client:
        result = await client.call_tool("add_note", {"text": "milk"})
        assert result.structured_content is not None
        name: str = result.structured_content["notebook"]
        await client.call_tool("add_note", {"text": "bread", "notebook": name})
        assert await read_back(client, notebook=name) == ["milk", "bread"]
        assert await read_back(client) == []
        contents = (await client.read_resource(f"notes://{name}")).contents
    assert [content.model_dump()["text"] for content in contents] == ["milk\nbread"]


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["elsewhere", ""])
async def test_an_unknown_notebook_is_an_error(notes: MCPServer, name: str) -> None:
    async with Client(notes) as client:
        result = await client.call_tool("list_notes", {"notebook": name})
        assert result.is_error
        with pytest.raises(MCPError, match="no notebook"):
            await client.read_resource(f"notes://{name or 'own'}")
