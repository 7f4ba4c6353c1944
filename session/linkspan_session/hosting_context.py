"""What the host lends to the code that it runs for one call: on whose behalf, and its services.

The host sets it before it calls the hosted server; extensions of ours that run inside that server
(`linkspan_session.tasks`) find it here. A context variable, so that concurrent calls never see each
other's and what a call starts in the background keeps it. A server that somebody else hosts finds
nothing.
"""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:  # the extensions import this module in turn, and each command the package
    from linkspan_session.storage.handler import HandlerStorage
    from linkspan_session.store import Principal
    from linkspan_session.tasks.runner import TaskRunner


class HostingContext(NamedTuple):
    """What goes with a call.

    Attributes:
        principal: On whose behalf it is made.
        task_runner: Runs what outlives the call.
        storage: What its session stores; None if it has no session.
    """

    principal: "Principal"
    task_runner: "TaskRunner"
    storage: "HandlerStorage | None" = None


_current: Final[ContextVar[HostingContext | None]] = ContextVar("linkspan_hosting", default=None)


def hosting_context() -> HostingContext | None:
    """Return what goes with the call that is being served; None if Linkspan does not host it."""
    return _current.get()


class lending:  # noqa: N801 - used as a function is; a generator would cost every call more
    """Set what goes with the calls that are begun within the block."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: HostingContext | None) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = _current.set(self._context)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
