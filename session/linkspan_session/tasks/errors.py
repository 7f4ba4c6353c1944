"""How work with tasks fails.

    TaskError
    ├── UnknownTaskError     no such task, expired, or another principal's (the caller's fault)
    ├── NoRoomError          the principal has as many tasks as it may have
    ├── ClosingError         the process is shutting down and begins no more tasks
    └── TaskEndedError       the task has ended while its handler was still at work

None of these is a tool's failure: that is an outcome, and stands in the task's record.
"""


class TaskError(Exception):
    """Something that was asked of a task cannot be done; the message can go to a client."""


class UnknownTaskError(TaskError):
    """There is no such task for this principal."""

    def __init__(self) -> None:
        super().__init__("Task not found")


class NoRoomError(TaskError):
    """The principal has as many tasks as it may have."""

    def __init__(self) -> None:
        super().__init__("Too many tasks: wait until some of them have ended or expired")


class ClosingError(TaskError):
    """The process is shutting down."""

    def __init__(self) -> None:
        super().__init__("The server is shutting down; try again")


class TaskEndedError(TaskError):
    """The task was cancelled, or ended otherwise, while its handler was still at work."""

    def __init__(self) -> None:
        super().__init__("The task has ended")
