"""A server for tests of tasks: tools that wait, ask and end when they are told to.

What a tool lives through is marked under the `name` that it was called with, and the tool `seen`
waits for such a mark: tests need not guess when something has happened.
"""

import asyncio
from collections import defaultdict

from mcp.server import MCPServer
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequests
from opentelemetry import trace

from linkspan_session.tasks import Tasks, TaskTerms, current_task

tasks = Tasks(TaskTerms(run_seconds=60, keep_seconds=60, max_unfinished=8, max_outcome_bytes=4096))
mcp = MCPServer("tasking", version="1.0", extensions=[tasks])

_marks: defaultdict[tuple[str, str], asyncio.Event] = defaultdict(asyncio.Event)

FORM = {"type": "object", "properties": {"name": {"type": "string"}}}


@mcp.tool()
async def seen(name: str, mark: str) -> str:
    """Wait for a mark: `started`, `cancelled` or `released`."""
    await _marks[name, mark].wait()
    return mark


@mcp.tool()
async def release(name: str) -> str:
    """Let what waits under a name go on."""
    _marks[name, "released"].set()
    return name


async def _hold(name: str) -> str:
    _marks[name, "started"].set()
    try:
        await _marks[name, "released"].wait()
    except asyncio.CancelledError:
        _marks[name, "cancelled"].set()
        raise
    return f"held {name}"


@mcp.tool()
@tasks.tool(required=True)
async def hold(name: str) -> str:
    """Wait, as a task, until released."""
    return await _hold(name)


@mcp.tool()
@tasks.tool(begins="when_told")
async def hold_then_begin(name: str) -> str:
    """Wait within the request until released, then become a task."""
    held = await _hold(name)
    await current_task().begin()
    return held


@mcp.tool()
@tasks.tool()
async def say(length: int) -> str:
    """Say something of a length."""
    await current_task().report("saying it")
    return "x" * length


@mcp.tool()
@tasks.tool()
async def ask() -> str:
    """Ask two questions at once."""
    questions: InputRequests = {
        name: ElicitRequest(params=ElicitRequestFormParams(message=name, requested_schema=FORM))
        for name in ("first", "last")
    }
    answers = await current_task().ask(questions)
    names = [answers[name] for name in questions]
    return " ".join(
        str((each.content or {}).get("name")) for each in names if isinstance(each, ElicitResult)
    )


@mcp.tool()
@tasks.tool()
async def work_within() -> str:
    """Make a span of its own."""
    with trace.get_tracer("tasking").start_as_current_span("work within"):
        return "done"
