"""The tasks extension of MCP 2026-07-28 (SEP-2663), for a server that Linkspan hosts.

Above lies the user's `MCPServer`; below lie `runner` and `ledger`, which know no MCP. This is the
one module that touches the SDK's extension seam, which is new in 2.x and may change.

Source: https://modelcontextprotocol.io/seps/2663-tasks-extension
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias, TypeVar

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, CallToolRequestParams, InputRequiredResult
from mcp_types.methods import is_input_required, serialize_server_result
from pydantic import BaseModel, ValidationError

from linkspan_contract.envelope import JsonObject
from linkspan_session.answers import Answer, Failed, Result
from linkspan_session.errors import StoreUnavailableError
from linkspan_session.hosting_context import HostingContext, hosting_context
from linkspan_session.store.tasks import TaskId, TaskRecord
from linkspan_session.tasks.context import (
    MODERN,
    TaskContext,
    as_current_task,
    missing_capability,
    takes_tasks,
)
from linkspan_session.tasks.errors import TaskError, UnknownTaskError
from linkspan_session.tasks.ledger import TaskTerms
from linkspan_session.tasks.outcomes import internal_failure
from linkspan_session.tasks.runner import Job
from linkspan_session.tasks.running import RunningTask
from linkspan_session.tasks.wire import (
    IDENTIFIER,
    AnswerError,
    TaskParams,
    UpdateTaskParams,
    answers_json,
    created_task,
    detailed_task,
)

RequestContext: TypeAlias = ServerRequestContext[Any, Any]
_ToolT = TypeVar("_ToolT", bound=Callable[..., Any])

_NOT_HOSTED: Final = (
    "This tool runs as a task, and tasks need a host that keeps them: serve it with `linkspan run`"
)


@dataclass(frozen=True, slots=True)
class _Support:
    required: bool
    at_once: bool


class Tasks(Extension):
    """Lets tools run as tasks, which outlive the request that called them.

    Give it to the server, and mark the tools:

        tasks = Tasks()
        mcp = MCPServer("reports", extensions=[tasks])

        @mcp.tool()
        @tasks.tool()
        async def build_report(year: int) -> str:
            await current_task().report("reading")
            ...
    """

    identifier = IDENTIFIER

    def __init__(self, terms: TaskTerms | None = None) -> None:
        """Make the extension.

        Args:
            terms: What each task is granted; None grants the defaults of `TaskTerms`.
        """
        self._terms = terms or TaskTerms()
        self._tools: dict[str, _Support] = {}

    def tool(
        self,
        *,
        required: bool = False,
        begins: Literal["at_once", "when_told"] = "at_once",
        name: str | None = None,
    ) -> Callable[[_ToolT], _ToolT]:
        """Mark a tool as one that runs as a task; stands below `@mcp.tool()`.

        Args:
            required: Whether it can do its work as a task only. A client that takes no tasks then
                gets an error; otherwise it gets a plain call.
            begins: `at_once`: the client gets the task before the tool starts. `when_told`: the
                tool runs within the request, where it may still return a result or an
                `InputRequiredResult`, until it calls `current_task().begin()`.
            name: The tool's name, if it is not the function's.
        """

        def mark(function: _ToolT) -> _ToolT:
            self._tools[name or function.__name__] = _Support(required, begins == "at_once")
            return function

        return mark

    def methods(self) -> Sequence[MethodBinding]:
        """Serve the extension's methods, to clients of 2026-07-28 and later."""
        return (
            MethodBinding("tasks/get", TaskParams, self._get, MODERN),
            MethodBinding("tasks/update", UpdateTaskParams, self._update, MODERN),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, MODERN),
        )

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: RequestContext, call_next: CallNext
    ) -> HandlerResult:
        """Run a marked tool as a task where that is possible, else as a plain call."""
        support = self._tools.get(params.name)
        if support is None:
            return await call_next(ctx)
        host = hosting_context()
        refusal = None if takes_tasks(ctx) else missing_capability()
        if refusal is None and host is None:
            refusal = MCPError(INTERNAL_ERROR, _NOT_HOSTED)
        if refusal is not None or host is None:
            if support.required and refusal is not None:
                raise refusal
            plain = TaskContext(None, ctx.session.client_capabilities, why_plain=refusal)
            with as_current_task(plain):
                return await call_next(ctx)
        return await self._run(host, support, params.name, ctx, call_next)

    async def _run(
        self,
        host: HostingContext,
        support: _Support,
        tool: str,
        ctx: RequestContext,
        call_next: CallNext,
    ) -> HandlerResult:
        async def work(running: RunningTask) -> HandlerResult:
            with as_current_task(TaskContext(running, ctx.session.client_capabilities)):
                return await call_next(ctx)

        job = Job(work, answer=partial(read_result, ctx.protocol_version), explain=read_error)
        try:
            outcome = await host.task_runner.run(
                job, tool, host.principal, self._terms, at_once=support.at_once
            )
        except (TaskError, StoreUnavailableError) as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from error
        return created_task(outcome) if isinstance(outcome, TaskRecord) else outcome

    # --- tasks/* ---------------------------------------------------------------------------------

    async def _get(self, ctx: RequestContext, params: TaskParams) -> JsonObject:
        host = _host_for(ctx)
        try:
            record = await host.task_runner.ledger.find(TaskId(params.task_id), host.principal)
        except UnknownTaskError as error:
            raise _unknown(error) from None
        return detailed_task(record)

    async def _update(self, ctx: RequestContext, params: UpdateTaskParams) -> JsonObject:
        host = _host_for(ctx)
        task_id, ledger = TaskId(params.task_id), host.task_runner.ledger
        try:
            record = await ledger.find(task_id, host.principal)
            answers = answers_json(record, params.input_responses)
            await ledger.answer(task_id, host.principal, answers)
        except UnknownTaskError as error:
            raise _unknown(error) from None
        except AnswerError as error:
            raise MCPError(INVALID_PARAMS, str(error)) from None
        host.task_runner.poke(task_id)
        return {}

    async def _cancel(self, ctx: RequestContext, params: TaskParams) -> JsonObject:
        host = _host_for(ctx)
        task_id = TaskId(params.task_id)
        try:
            await host.task_runner.ledger.cancel(task_id, host.principal)
        except UnknownTaskError as error:
            raise _unknown(error) from None
        host.task_runner.stop(task_id)
        return {}


def _host_for(ctx: RequestContext) -> HostingContext:
    """Return the host of a `tasks/*` request, after checking that it may be made."""
    if not takes_tasks(ctx):
        raise missing_capability()
    host = hosting_context()
    if host is None:  # whatever the id is, nobody keeps such a task
        raise _unknown(UnknownTaskError())
    return host


def _unknown(error: UnknownTaskError) -> MCPError:
    return MCPError(INVALID_PARAMS, str(error))


def read_result(version: str, value: HandlerResult) -> Answer:
    """Read what a tool returned as the client would have got it from a plain call."""
    if isinstance(value, InputRequiredResult) or is_input_required(value):
        return Failed(
            INTERNAL_ERROR, "The tool asked as a plain call does; a task asks with its own ask()"
        )
    if isinstance(value, BaseModel):
        value = value.model_dump(by_alias=True, mode="json", exclude_none=True)
    try:
        return Result(serialize_server_result("tools/call", version, value or {}))
    except ValidationError as error:
        return internal_failure("a task's tool returned an invalid result", error)


def read_error(error: BaseException) -> Failed:
    """Read what a tool raised as the client would have got it from a plain call."""
    if isinstance(error, asyncio.CancelledError):
        return internal_failure("a task was cancelled by its own tool", error)
    known = handler_exception_to_error_data(error) if isinstance(error, Exception) else None
    if known is not None:
        return Failed(known.code, known.message, known.data)
    return internal_failure("a task's tool raised", error)
