"""The notes example keeps one notebook a session, and a named one for clients without a session."""

import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.shared.exceptions import MCPError
from tests.examples.loading import load_example

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def notes() -> MCPServer:
    return load_example("notes")


async def read_back(client: Client, notebook: str = "") -> list[str]:
    result = await client.call_tool("list_notes", {"notebook": notebook})
    assert result.structured_content is not None
    kept: list[str] = result.structured_content["notes"]
    return kept


async def test_a_session_reads_its_own_notes_only(notes: MCPServer) -> None:
    async with Client(notes, mode="legacy") as one, Client(notes, mode="legacy") as other:
        await one.call_tool("add_note", {"text": "milk"})
        await one.call_tool("add_note", {"text": "bread"})
        await other.call_tool("add_note", {"text": "ink"})
        assert await read_back(one) == ["milk", "bread"]
        assert await read_back(other) == ["ink"]


async def test_without_a_session_the_name_leads_back_to_the_notes(notes: MCPServer) -> None:
    async with Client(notes) as client:
        result = await client.call_tool("add_note", {"text": "milk"})
        assert result.structured_content is not None
        name: str = result.structured_content["notebook"]
        assert await read_back(client, name) == ["milk"]
        assert await read_back(client) == []
        contents = (await client.read_resource(f"notes://{name}")).contents
    assert [content.model_dump()["text"] for content in contents] == ["milk"]


async def test_an_unknown_notebook_is_an_error(notes: MCPServer) -> None:
    async with Client(notes) as client:
        result = await client.call_tool("list_notes", {"notebook": "elsewhere"})
        assert result.is_error
        with pytest.raises(MCPError, match="no notebook"):
            await client.read_resource("notes://elsewhere")
