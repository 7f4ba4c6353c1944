"""Which sessions are meant: what `--state`, `--owner` and `--idle-for` say. Pure."""

from dataclasses import dataclass

from linkspan.session.v1.session_pb2 import Session
from linkspan_cli.sessions.table import seconds_of, state_name


@dataclass(frozen=True, slots=True)
class Selection:
    """What a session has to be like; None asks for nothing.

    Attributes:
        state: Its state, as `table.state_name` writes it.
        owner: The address of the session server that has it in memory.
        idle_for_seconds: How long it has to have been inactive, at least.
    """

    state: str | None = None
    owner: str | None = None
    idle_for_seconds: float | None = None

    @property
    def takes_all(self) -> bool:
        """Whether every session is meant."""
        return self == Selection()

    def takes(self, session: Session, now: float) -> bool:
        """Tell whether a session is meant.

        Args:
            session: The session.
            now: The time, in seconds since the Unix epoch.
        """
        if self.state is not None and state_name(session) != self.state:
            return False
        if self.owner is not None and session.owner_address != self.owner:
            return False
        if self.idle_for_seconds is None:
            return True
        return now - seconds_of(session.last_active_time) >= self.idle_for_seconds
