"""When a call is sent again, and to whom: one table of failures, and where a request stands.

Pure: told what failed, when, and how long to spread pauses. Above lies `sends`, which does what is
decided here. Invariants: a request is sent again only if nobody has begun it, or if the session
server is told that it may have begun; nobody is asked again without a pause, but for the first
redirect; what has not succeeded for `retry_for` seconds is given up.

| failure | has it begun | who is asked next |
|---|---|---|
| SESSION_ELSEWHERE, with an owner | no | that owner |
| SESSION_ELSEWHERE, without | no | any server |
| DRAINING, OVERLOADED, RECORD_TOO_NEW | no | who is placed; after a refusal by that one, any server |
| OWNER_UNREACHABLE | no | who is placed, once the owner's lease may be over |
| STORE_UNAVAILABLE | no | who is placed, for a second at most |
| SESSION_MOVED | perhaps | who is placed |
| no connection to an owner | no | who is placed, told of the owner that is out of reach |
| no connection to any server | no | who is placed |
| the connection broke | perhaps | any server, told of the owner if it was asked directly |
| BUSY, anything else | | nobody: the failure is the answer |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Final

import grpc

from linkspan.session.v1.session_service_pb2 import ErrorReason
from linkspan_contract.status import Failure

MAX_BEGUN: Final = 3
"""How often a request is begun at most: it may be what breaks one session server after another."""

FIRST_PAUSE_SECONDS: Final = 0.02
LONGEST_PAUSE_SECONDS: Final = 0.15

STORE_SECONDS: Final = 1.0
"""For how long a store that does not answer is waited for: clients are promised a prompt 503."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from a failure.

    Attributes:
        begun: Whether the request may have begun.
        leave: Whether any server will do next, because the one that is placed would fail again.
        within_seconds: For how long it is tried again at most.
    """

    begun: bool = False
    leave: bool = False
    within_seconds: float = inf


NEVER_SENT: Final = Rule()
BROKEN: Final = Rule(begun=True, leave=True)
_REDIRECT: Final = Rule()
_REFUSED: Final = Rule(leave=True)

_BY_REASON: Final[Mapping[ErrorReason.ValueType, Rule]] = MappingProxyType(
    {
        ErrorReason.ERROR_REASON_SESSION_ELSEWHERE: _REDIRECT,
        ErrorReason.ERROR_REASON_DRAINING: _REFUSED,
        ErrorReason.ERROR_REASON_OVERLOADED: _REFUSED,
        ErrorReason.ERROR_REASON_RECORD_TOO_NEW: _REFUSED,
        ErrorReason.ERROR_REASON_OWNER_UNREACHABLE: Rule(),
        ErrorReason.ERROR_REASON_STORE_UNAVAILABLE: Rule(within_seconds=STORE_SECONDS),
        ErrorReason.ERROR_REASON_SESSION_MOVED: Rule(begun=True),
    }
)

_BROKEN_CODES: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What gRPC itself reports when a connection, or the server at its end, is lost during a call."""


def rule_of(failure: Failure, *, never_sent: bool) -> Rule | None:
    """Look up what follows from a failure; None if it is final.

    Args:
        failure: How the call failed.
        never_sent: Whether it is known that no server was called.
    """
    if failure.reason != ErrorReason.ERROR_REASON_UNSPECIFIED:
        return _BY_REASON.get(failure.reason)
    if never_sent:
        return NEVER_SENT
    return BROKEN if failure.code in _BROKEN_CODES else None


class Attempts:
    """Where one request stands between its sends."""

    __slots__ = (
        "_counts",
        "_doubt",
        "_pauses",
        "_redirected",
        "_retry_for_seconds",
        "_since",
        "begun_before",
        "owner",
        "placed",
        "sends",
        "unreachable_owner",
    )

    def __init__(self, owner: str, *, retry_for_seconds: float, counts: bool) -> None:
        """Begin with the first send.

        Args:
            owner: Whom to call; empty for whoever is placed.
            retry_for_seconds: How long to try again for what fails again and again.
            counts: Whether it matters that the request may have begun: it is not one that can be
                made as often as one likes.
        """
        self.owner = owner
        """Whom to call next; empty for whoever is placed."""
        self.unreachable_owner = ""
        """The owner that is out of reach, for whoever is placed to know."""
        self.begun_before = 0
        """How many sends may have begun the request."""
        self.placed = True
        """Whether the routing key says who is called by placement; else any server is."""
        self.sends = 1
        """How many sends there have been, with the next one."""
        self._retry_for_seconds = retry_for_seconds
        self._counts = counts
        self._doubt: Failure | None = None
        self._since: float | None = None
        self._pauses = 0
        self._redirected = False

    def unreachable(self) -> None:
        """Note that there is no connection to the owner, who was not called: somebody else is."""
        self.unreachable_owner = self.owner
        self.owner = ""

    def succeeded(self) -> None:
        """Note that the last send went well for a while: what fails from now on fails anew."""
        self._since = None
        self._pauses = 0
        self._redirected = False
        self.placed = True

    def after(
        self, failure: Failure, *, never_sent: bool, now: float, spread: float
    ) -> float | None:
        """Decide what follows from the failure of the last send.

        Args:
            failure: How it failed.
            never_sent: Whether it is known that no server was called.
            now: The time in seconds; never goes back.
            spread: What pauses are multiplied with, above 0 and at most 1, so that not all requests
                come back at once.

        Returns:
            How long to wait before the next send, in seconds; None to give up.
        """
        rule = rule_of(failure, never_sent=never_sent)
        if rule is None:
            return None
        if rule.begun and self._counts:
            self.begun_before += 1
            self._doubt = failure
        self._choose_next(failure, rule, never_sent=never_sent)
        if self._since is None:
            self._since = now
        within_seconds = min(self._retry_for_seconds, rule.within_seconds)
        if now - self._since >= within_seconds or self.begun_before >= MAX_BEGUN:
            return None
        self.sends += 1
        if self.owner and not self._redirected:
            self._redirected = True
            return 0.0
        pause = min(FIRST_PAUSE_SECONDS * (1 << self._pauses), LONGEST_PAUSE_SECONDS)
        self._pauses += 1
        return pause * spread

    def verdict(self, failure: Failure) -> Failure:
        """Pick what the client is told, given the last failure.

        A refusal that promises that nothing was begun is not passed on if an earlier send may have
        begun the request: that one's failure is.
        """
        rule = rule_of(failure, never_sent=False)
        if self._doubt is None or rule is None or rule.begun:
            return failure
        return self._doubt

    def _choose_next(self, failure: Failure, rule: Rule, *, never_sent: bool) -> None:
        asked = self.owner
        self.owner = ""
        if failure.owner:
            self.owner = failure.owner
            self.unreachable_owner = ""
        elif asked:
            if never_sent or rule is BROKEN:
                self.unreachable_owner = asked
        elif rule.leave or failure.reason == ErrorReason.ERROR_REASON_SESSION_ELSEWHERE:
            self.placed = False
