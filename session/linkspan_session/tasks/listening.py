"""The one rule of SEP-2663 that concerns a core method: who may ask to be notified of tasks.

Linkspan sends no `notifications/tasks`, which the extension leaves to the server, so a client that
asks for them is acknowledged without them. One that does not even declare the extension must be
refused. An SDK extension cannot wrap `subscriptions/listen`, so this is a middleware of the server.

Source: SEP-2663, "Task Status Notifications".
"""

from collections.abc import Mapping
from typing import Any, cast

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server

from linkspan_session.tasks.context import missing_capability, takes_tasks
from linkspan_session.tasks.wire import IDENTIFIER


def guard_listening(server: Server[Any]) -> None:
    """Refuse task subscriptions of clients without the extension, if the server has it."""
    if IDENTIFIER in server.extensions:
        server.middleware.append(_guard)


async def _guard(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    if ctx.method == "subscriptions/listen" and _wants_tasks(ctx.params) and not takes_tasks(ctx):
        raise missing_capability()
    return await call_next(ctx)


def _wants_tasks(params: Mapping[str, Any] | None) -> bool:
    notifications: object = (params or {}).get("notifications")
    return isinstance(notifications, dict) and "taskIds" in cast("dict[str, Any]", notifications)
