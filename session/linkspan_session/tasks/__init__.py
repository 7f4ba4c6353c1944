"""Tools that run as tasks: the extension `io.modelcontextprotocol/tasks` of MCP 2026-07-28.

    from linkspan_session.tasks import Tasks, current_task

See `docs/tasks.md`. From the user's server downwards: `extension` and `context` (what a server and
a tool see), `runner` and `running` (the tasks of this process), `ledger` (tasks on record),
`changes`, `states`, `outcomes` and `wire` (decisions and formats, pure).
"""

from linkspan_session.tasks.context import TaskContext, current_task
from linkspan_session.tasks.errors import TaskEndedError
from linkspan_session.tasks.extension import Tasks
from linkspan_session.tasks.ledger import TaskTerms

__all__ = ["TaskContext", "TaskEndedError", "TaskTerms", "Tasks", "current_task"]
