"""Tools that run as tasks: what a client polls, answers and cancels (SEP-2663).

A task outlives the request that began it, so it needs a host that keeps it. Where nobody does, or
the client takes no tasks, these tools run as plain calls, unless they are marked as `required`.

Names and texts follow the fixtures of the official conformance suite; see `README.md`.
"""

import asyncio

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequests,
    InputRequiredResult,
)

from linkspan_session.tasks import Tasks, current_task

FAILING_SECONDS = 1.0
"""How long `failing_job` works before it fails."""

tasks = Tasks()
"""The extension, which the server is made with."""

CONFIRM_FORM = {
    "type": "object",
    "properties": {"confirm": {"type": "boolean"}},
    "required": ["confirm"],
}

NAME_FORM = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
}


def register(mcp: MCPServer) -> None:
    """Add the tools of this module to the server."""
    _add_work(mcp)
    _add_questions(mcp)


def _form(message: str) -> ElicitRequest:
    return ElicitRequest(
        params=ElicitRequestFormParams(message=message, requested_schema=NAME_FORM)
    )


def _name_in(answer: object) -> str | None:
    """The name that the user filled in, or None where there is none."""
    if isinstance(answer, ElicitResult) and answer.content and "name" in answer.content:
        return str(answer.content["name"])
    return None


def _add_work(mcp: MCPServer) -> None:
    @mcp.tool()
    def greet(name: str) -> str:
        """Greet: a plain tool beside the tasks."""
        return f"Hello, {name}!"

    @mcp.tool()
    @tasks.tool()
    async def slow_compute(seconds: float, label: str = "") -> str:
        """Work for that many seconds, reporting each. Cancelling the task ends it at once."""
        task = current_task()
        for second in range(int(seconds)):
            await task.report(f"{second} of {seconds:g} s")
            await asyncio.sleep(1)
        await asyncio.sleep(seconds % 1)
        return f"Computed {label or 'something'} for {seconds:g} s."

    @mcp.tool()
    @tasks.tool(required=True)
    async def failing_job() -> str:
        """Fail after a second: the task completes, with a result that tells of the error."""
        await asyncio.sleep(FAILING_SECONDS)
        raise ToolError("The job failed, as it always does")

    @mcp.tool()
    @tasks.tool()
    async def protocol_error_job() -> str:
        """Raise a protocol error: the task fails."""
        raise MCPError(code=INTERNAL_ERROR, message="The job broke, as it always does")


def _add_questions(mcp: MCPServer) -> None:
    @mcp.tool()
    @tasks.tool()
    async def confirm_delete(filename: str) -> str:
        """Ask before deleting a file that was never there."""
        answer = await current_task().elicit(f"Delete {filename}?", CONFIRM_FORM)
        confirmed = answer.action == "accept" and bool((answer.content or {}).get("confirm"))
        return f"Deleted {filename}." if confirmed else f"Kept {filename}."

    @mcp.tool()
    @tasks.tool()
    async def multi_input() -> str:
        """Ask two questions at once, which may be answered one by one."""
        questions: InputRequests = {
            "first": _form("What is your first name?"),
            "last": _form("What is your last name?"),
        }
        answers = await current_task().ask(questions)
        names = [_name_in(answers[each]) or "nobody" for each in ("first", "last")]
        return f"Hello, {' '.join(names)}!"

    @mcp.tool()
    @tasks.tool(required=True, begins="when_told")
    async def test_tool_with_task(ctx: Context) -> str | InputRequiredResult:
        """Ask within the request; once the answer is there, go on as a task."""
        name = _name_in((ctx.input_responses or {}).get("user_name"))
        if name is None:
            questions: InputRequests = {"user_name": _form("What is your name?")}
            return InputRequiredResult(input_requests=questions)
        await current_task().begin()
        await current_task().report(f"greeting {name}")
        return f"Hello, {name}!"
