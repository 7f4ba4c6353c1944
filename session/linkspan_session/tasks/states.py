"""The life of a task: every state, every event, and what comes of it, in one table.

Pure. A pair that is not in the table does not happen: whoever tries it changes nothing. States
without a row are final.

Source: SEP-2663, "Task Status"
(https://modelcontextprotocol.io/seps/2663-tasks-extension).
"""

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from linkspan_session.store.tasks import TaskStatus


class TaskEvent(Enum):
    """What can happen to a task."""

    NOTED = auto()
    """It said something of itself, or took an answer: nothing a state depends on."""

    ASKED = auto()
    """It put a question to its client."""

    FEWER_OPEN = auto()
    """A question was answered or taken back; another one is still open."""

    NONE_OPEN = auto()
    """The last open question was answered or taken back."""

    COMPLETED = auto()
    """Its tool returned a result, be it one that tells of an error."""

    FAILED = auto()
    """A JSON-RPC error took the place of a result."""

    CANCELLED = auto()
    """Its client does not want it any more."""


_WORKING: Final = TaskStatus.WORKING
_INPUT_REQUIRED: Final = TaskStatus.INPUT_REQUIRED

TRANSITIONS: Final[Mapping[tuple[TaskStatus, TaskEvent], TaskStatus]] = MappingProxyType(
    {
        (_WORKING, TaskEvent.NOTED): _WORKING,
        (_WORKING, TaskEvent.ASKED): _INPUT_REQUIRED,
        (_WORKING, TaskEvent.COMPLETED): TaskStatus.COMPLETED,
        (_WORKING, TaskEvent.FAILED): TaskStatus.FAILED,
        (_WORKING, TaskEvent.CANCELLED): TaskStatus.CANCELLED,
        (_INPUT_REQUIRED, TaskEvent.NOTED): _INPUT_REQUIRED,
        (_INPUT_REQUIRED, TaskEvent.ASKED): _INPUT_REQUIRED,
        (_INPUT_REQUIRED, TaskEvent.FEWER_OPEN): _INPUT_REQUIRED,
        (_INPUT_REQUIRED, TaskEvent.NONE_OPEN): _WORKING,
        (_INPUT_REQUIRED, TaskEvent.COMPLETED): TaskStatus.COMPLETED,
        (_INPUT_REQUIRED, TaskEvent.FAILED): TaskStatus.FAILED,
        (_INPUT_REQUIRED, TaskEvent.CANCELLED): TaskStatus.CANCELLED,
    }
)


def next_status(status: TaskStatus, event: TaskEvent) -> TaskStatus | None:
    """Return the state that an event leads to, or None if it does not happen in this state."""
    return TRANSITIONS.get((status, event))
