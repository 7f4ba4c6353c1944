"""A server for tests whose process has a wrong clock: `shift` sets it, and it counts in sessions.

`mcp` begins with the right time, `mcp_ahead` with a clock that is an hour fast. Only the wall clock
is wrong, as with a machine whose time is set: the monotonic one goes on. What is shifted is the one
that Linkspan reads, `time.time_ns`. `time.time` is not: gRPC compares it with deadlines that its C
core works out from the machine's own clock, which no test can set, so all calls would be overdue.
"""

import time
from typing import Final

from mcp.server import MCPServer

from linkspan_session.storage import session_storage
from linkspan_session.tasks import Tasks, TaskTerms

tasks = Tasks(TaskTerms(run_seconds=60, keep_seconds=600, max_unfinished=8, max_outcome_bytes=4096))
mcp = MCPServer("clock", extensions=[tasks])

_HOUR_NANOS: Final = 3600 * 10**9
_right_time_ns = time.time_ns
_shift_nanos = 0


def _wrong_time_ns() -> int:
    return _right_time_ns() + _shift_nanos


time.time_ns = _wrong_time_ns


def _shift(hours: float) -> None:
    global _shift_nanos  # noqa: PLW0603 - there is one clock
    _shift_nanos = round(hours * _HOUR_NANOS)


def mcp_ahead() -> MCPServer:
    """Return the server, in a process whose clock is an hour fast."""
    _shift(1)
    return mcp


@mcp.tool()
def shift(hours: float) -> float:
    """Set the clock of this process so many hours off the right time."""
    _shift(hours)
    return hours


@mcp.tool()
async def add_one() -> int:
    """Add one to the session's count; answers the count."""
    storage = session_storage()
    async with storage.transaction():
        count: int = await storage.get("count", 0) + 1
        await storage.put("count", count)
    return count


@mcp.tool()
@tasks.tool(required=True)
async def say(text: str) -> str:
    """Return the text, as a task."""
    return text
