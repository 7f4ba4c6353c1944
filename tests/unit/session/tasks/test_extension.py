"""The extension in a server that nobody hosts, or that is asked by clients of all kinds."""

import logging
from typing import Any

import pytest
from mcp import Client
from mcp.client.extension import advertise
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, CallToolResult, InputRequiredResult, TextContent

from linkspan_session.answers import Failed, Result
from linkspan_session.tasks import Tasks, current_task
from linkspan_session.tasks.extension import read_error, read_result
from linkspan_session.tasks.wire import IDENTIFIER

pytestmark = pytest.mark.anyio

MODERN = "2026-07-28"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def server() -> MCPServer:
    tasks = Tasks()
    mcp = MCPServer("tested", extensions=[tasks])

    @mcp.tool()
    @tasks.tool()
    async def may(word: str) -> str:
        task = current_task()
        await task.begin()
        await task.report("nobody hears")
        return f"{word}, task: {task.is_task}"

    @mcp.tool(name="must")
    @tasks.tool(required=True, name="must")
    async def must_be_a_task() -> str:
        raise AssertionError

    @mcp.tool()
    @tasks.tool()
    async def asks() -> str:
        await current_task().elicit("Well?", {"type": "object", "properties": {}})
        raise AssertionError

    @mcp.tool()
    async def unmarked(ctx: Context) -> str:
        current_task()
        raise AssertionError

    return mcp


def taking_tasks(server: MCPServer) -> Client:
    return Client(server, extensions=[advertise(IDENTIFIER)])


async def test_the_server_advertises_the_extension(server: MCPServer) -> None:
    async with Client(server) as client:
        assert client.server_capabilities.extensions == {IDENTIFIER: {}}


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("takes_tasks", [True, False])
async def test_without_a_host_a_tool_that_may_be_a_task_is_a_plain_call(
    server: MCPServer, mode: str, takes_tasks: bool
) -> None:
    extensions = [advertise(IDENTIFIER)] if takes_tasks else []
    async with Client(server, mode=mode, extensions=extensions) as client:
        result = await client.call_tool("may", {"word": "yes"})
    assert result.structured_content == {"result": "yes, task: False"}


@pytest.mark.parametrize("tool", ["must", "asks"])
async def test_without_a_host_what_needs_a_task_says_what_to_do(
    server: MCPServer, tool: str
) -> None:
    async with taking_tasks(server) as client:
        with pytest.raises(MCPError, match="serve it with `linkspan run`") as caught:
            await client.call_tool(tool)
    assert caught.value.code == INTERNAL_ERROR


async def test_a_tool_that_is_not_marked_has_no_task(
    server: MCPServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        async with taking_tasks(server) as client:
            result = await client.call_tool("unmarked")
    assert result.is_error
    assert "not in a tool that is marked with Tasks.tool()" in caplog.text


def test_a_result_is_what_a_plain_call_would_have_returned() -> None:
    value = CallToolResult(content=[TextContent(type="text", text="hi")])
    wanted: dict[str, Any] = {
        "content": [{"type": "text", "text": "hi"}],
        "isError": False,
        "resultType": "complete",
    }
    assert read_result(MODERN, value) == Result(wanted)
    assert read_result(MODERN, {**wanted, "unheard of": 1}) == Result(wanted)


def test_a_result_that_is_none_fails_the_task(caplog: pytest.LogCaptureFixture) -> None:
    answer = read_result(MODERN, {"content": "a secret"})
    assert isinstance(answer, Failed)
    assert (answer.code, answer.message) == (INTERNAL_ERROR, "Internal server error")


def test_a_task_that_asks_as_a_plain_call_does_fails() -> None:
    for asked in (InputRequiredResult(request_state="x"), {"resultType": "input_required"}):
        answer = read_result(MODERN, asked)
        assert isinstance(answer, Failed)
        assert "ask()" in answer.message


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MCPError(-32000, "no", {"why": 1}), -32000, "no"),
        (KeyError("a secret"), INTERNAL_ERROR, "Internal server error"),
        (SystemExit("a secret"), INTERNAL_ERROR, "Internal server error"),
    ],
)
def test_an_error_tells_no_more_than_a_plain_call_would(
    error: BaseException, code: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    failure = read_error(error)
    assert (failure.code, failure.message) == (code, message)
    data: Any = failure.data
    assert data == {"why": 1} or data["correlationId"] in caplog.text
