"""What a tool that may run as a task sees of it: `current_task()`.

Above lies the user's tool; below lies `running`. The same handle serves a tool that runs as a plain
call, because its client takes no tasks: then there is nobody to tell or to ask.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    ClientCapabilities,
    ElicitationCapability,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequests,
    InputResponses,
    RootsCapability,
    SamplingCapability,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from linkspan_session.errors import StoreUnavailableError
from linkspan_session.tasks.errors import TaskError
from linkspan_session.tasks.running import RunningTask
from linkspan_session.tasks.wire import IDENTIFIER, question_json, read_answer

MODERN: Final = frozenset(MODERN_PROTOCOL_VERSIONS)
"""The protocol versions that have this extension."""

_CAPABILITY_OF: Final[Mapping[str, ClientCapabilities]] = {
    "elicitation/create": ClientCapabilities(elicitation=ElicitationCapability()),
    "sampling/createMessage": ClientCapabilities(sampling=SamplingCapability()),
    "roots/list": ClientCapabilities(roots=RootsCapability()),
}
"""What a client must declare to be asked, by method."""


class TaskContext:
    """The task that a tool runs as, or the plain call in its place."""

    def __init__(
        self,
        running: RunningTask | None,
        capabilities: ClientCapabilities | None,
        *,
        why_plain: MCPError | None = None,
    ) -> None:
        """Made by the extension; a tool gets its own from `current_task`.

        Args:
            running: The handler; None for a plain call.
            capabilities: What the client declared with the request.
            why_plain: What a plain call answers with if it cannot go on without being a task.
        """
        self._running = running
        self._capabilities = capabilities
        self._why_plain = why_plain

    @property
    def is_task(self) -> bool:
        """Whether the call has become a task."""
        return self._running is not None and self._running.created is not None

    async def begin(self) -> None:
        """Become a task, if the client takes tasks: answer its request, and carry on.

        For tools that are marked with `begins="when_told"`. From here on the tool outlives its
        request. Does nothing in a plain call, or if the tool is a task already.

        Raises:
            MCPError: The principal has too many tasks, or the store does not answer; to be left to
                the client.
        """
        if self._running is not None:
            try:
                await self._running.begin()
            except (TaskError, StoreUnavailableError) as error:
                raise MCPError(INTERNAL_ERROR, str(error)) from error

    async def report(self, message: str) -> None:
        """Tell the client how far the task is; its first 1024 characters are kept.

        Does nothing in a plain call.

        Raises:
            TaskEndedError: The task was cancelled; its tool is about to be.
            StoreUnavailableError: The store does not answer.
        """
        if self._running is not None and self.is_task:
            await self._running.note(message)

    async def ask(
        self, questions: InputRequests, *, timeout_seconds: float | None = None
    ) -> InputResponses:
        """Ask the client and wait for all of its answers; the task is `input_required` meanwhile.

        May be called several times at once. Cancelling it takes the questions back.

        Args:
            questions: Elicitation, sampling and roots requests by a name of your choice.
            timeout_seconds: How long to wait; None waits as long as the task may run.

        Returns:
            The answers by the same names. A form's content is as the client sent it: it has not
            been compared with the form's schema.

        Raises:
            TimeoutError: The client did not answer in time.
            MCPError: The client did not declare that it can be asked so, or takes no tasks; to be
                left to the client.
            TaskEndedError: The task was cancelled; its tool is about to be.
            ValueError: Too many questions are open.
            StoreUnavailableError: The store does not answer.
        """
        if self._running is None or not self.is_task:
            raise self._why_plain or RuntimeError("a task can be asked once it has begun: begin()")
        for question in questions.values():
            self._check_can_be_asked(question.method)
        texts = await self._running.ask(
            {name: question_json(question) for name, question in questions.items()},
            timeout_seconds=timeout_seconds,
        )
        return {name: read_answer(question, texts[name]) for name, question in questions.items()}

    async def elicit(
        self,
        message: str,
        schema: dict[str, Any],
        *,
        timeout_seconds: float | None = None,
    ) -> ElicitResult:
        """Ask the user to fill in a form; see `ask`, which raises the same.

        Args:
            message: What to show.
            schema: The form, as a JSON Schema object with plain properties.
            timeout_seconds: How long to wait; None waits as long as the task may run.
        """
        params = ElicitRequestFormParams(message=message, requested_schema=schema)
        questions: InputRequests = {"form": ElicitRequest(params=params)}
        answers = await self.ask(questions, timeout_seconds=timeout_seconds)
        answer = answers["form"]
        if not isinstance(answer, ElicitResult):  # `read_answer` has seen to it
            raise TypeError(type(answer).__name__)
        return answer

    def _check_can_be_asked(self, method: str) -> None:
        """Refuse what the client did not declare (MCP 2026-07-28, basic/patterns/mrtr)."""
        needed = _CAPABILITY_OF[method]
        declared = self._capabilities or ClientCapabilities()
        for name in needed.model_fields_set:
            if getattr(declared, name) is None:
                raise missing_capability(needed)


_current: Final[ContextVar[TaskContext]] = ContextVar("linkspan_task")


def current_task() -> TaskContext:
    """Return the task that the calling tool runs as.

    Raises:
        RuntimeError: The caller is not a tool that is marked with `Tasks.tool`.
    """
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError("not in a tool that is marked with Tasks.tool()") from None


@contextmanager
def as_current_task(context: TaskContext) -> Generator[None]:
    """Make `current_task` return this one within the block."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def takes_tasks(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Tell whether a request may be answered with a task.

    Older protocol versions have no result of that type, whatever their clients declare.
    """
    capabilities = ctx.session.client_capabilities
    declared = (capabilities.extensions if capabilities else None) or {}
    return ctx.protocol_version in MODERN and IDENTIFIER in declared


def missing_capability(needed: ClientCapabilities | None = None) -> MCPError:
    """Say what a client must declare, by default this extension (SEP-2663, "Error Handling")."""
    required = needed or ClientCapabilities(extensions={IDENTIFIER: {}})
    return MCPError(
        MISSING_REQUIRED_CLIENT_CAPABILITY,
        "Missing required client capability",
        {
            "requiredCapabilities": required.model_dump(
                by_alias=True, mode="json", exclude_none=True
            )
        },
    )
