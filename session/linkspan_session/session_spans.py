"""What spans say of sessions: how one was found or woken, and what this server does by itself.

Above lie `directory`, `claiming`, `housekeeping` and `grpc_front`, which say what happened; below lies
OpenTelemetry's API. Invariants: a request for a session that is in memory costs two attributes and no
span; what no request waits for is a trace of its own, and is told only if there was something to do.
"""

import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode

from linkspan.session.v1.session_service_pb2 import ErrorReason
from linkspan_contract.session_digest import session_digest
from linkspan_session.errors import SessionError

RESTORE: Final = "session.restore"
"""The span of bringing a session into memory; a request waits for it."""
SLEEP: Final = "session.sleep"
"""The span of a round that has sent sessions to sleep."""
SWEEP: Final = "session.sweep"
"""The span of letting sessions expire."""
DRAIN: Final = "session.drain"
"""The span of a session server's end."""

OWNER_MATCH: Final = "mcp.session.owner_match"
"""Whether a session belongs to whoever asks for it."""
INSTANCE_AGE: Final = "mcp.session.instance.age_seconds"
"""For how long the session has been in the memory of this process, when it was asked for."""
OUTCOME: Final = "mcp.session.restore.outcome"
"""How a session came into memory, or why it did not: on its own span, and on the request's."""

KEPT: Final = "kept"
"""It was there: somebody else was faster, or there was a doubt that has gone."""
WOKEN: Final = "woken"
"""It had been asleep."""
TAKEN_OVER: Final = "taken_over"
"""It was another session server's, which is gone."""

_OUR_FAULTS: Final = frozenset(
    {
        ErrorReason.ERROR_REASON_OWNER_UNREACHABLE,
        ErrorReason.ERROR_REASON_OVERLOADED,
        ErrorReason.ERROR_REASON_BUSY,
        ErrorReason.ERROR_REASON_STORE_UNAVAILABLE,
        ErrorReason.ERROR_REASON_RECORD_TOO_NEW,
    }
)

_tracer: Final = trace.get_tracer("linkspan.session")


class _Restoring:
    """A session on its way into memory."""

    __slots__ = ("outcome", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.outcome = KEPT


_restoring: Final[ContextVar[_Restoring | None]] = ContextVar("restoring", default=None)


def tell_found(since_seconds: float, *, owner_match: bool) -> bool:
    """Say in the request's span that its session is in memory; returns `owner_match`.

    Args:
        since_seconds: When it came into memory, by `time.monotonic`.
        owner_match: Whether it belongs to whoever asks.
    """
    span = trace.get_current_span()
    if span.is_recording():
        age_seconds = time.monotonic() - since_seconds
        span.set_attributes({OWNER_MATCH: owner_match, INSTANCE_AGE: age_seconds})
    return owner_match


def is_match(*, owner_match: bool) -> bool:
    """Return what is given, and say so in the request's span if a session is another principal's."""
    if not owner_match:
        trace.get_current_span().set_attribute(OWNER_MATCH, False)
    return owner_match


@asynccontextmanager
async def restoring(session_id: str) -> AsyncGenerator[None]:
    """Bring a session into memory within the block, in a span; says how that went."""
    request = trace.get_current_span()
    with _tracer.start_as_current_span(
        RESTORE,
        attributes={"mcp.session.id": session_digest(session_id)},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        restoring_now = _Restoring(span)
        token = _restoring.set(restoring_now)
        try:
            yield
        except Exception as error:
            restoring_now.outcome = _tell_failure(span, error)
            raise
        finally:
            _restoring.reset(token)
            for each in (span, request):
                each.set_attribute(OUTCOME, restoring_now.outcome)


def tell_claimed(*, taken_over: bool, epoch: int) -> None:
    """Say that this session server owns a session from now on.

    Args:
        taken_over: Whether it was another session server's.
        epoch: The number of its owners so far.
    """
    current = _restoring.get()
    if current is not None:
        current.outcome = TAKEN_OVER if taken_over else WOKEN
        current.span.set_attribute("mcp.session.epoch", epoch)


def tell_step(name: str, **attributes: str) -> None:
    """Say what had to be done before a session could be claimed."""
    trace.get_current_span().add_event(
        f"linkspan.{name}", {f"linkspan.{key}": value for key, value in attributes.items()}
    )


@contextmanager
def chore(name: str) -> Generator[Counter[str]]:
    """Do within the block what no request waits for; it is a trace if anything is counted, or fails.

    What is counted in the block under a name is `linkspan.` and the name in the span.
    """
    started_nanos = time.time_ns()
    done: Counter[str] = Counter()
    failure: Exception | None = None
    try:
        yield done
    except Exception as error:
        failure = error
        raise
    finally:
        counts = {f"linkspan.{key}": count for key, count in done.items() if count}
        if counts or failure is not None:
            span = _tracer.start_span(name, Context(), attributes=counts, start_time=started_nanos)
            if failure is not None:
                _tell_failure(span, failure)
            span.end()


@contextmanager
def draining(sessions: int, calls: int) -> Generator[None]:
    """Drain within the block: a trace of its own.

    Args:
        sessions: How many sessions are in memory.
        calls: How many of their requests run.
    """
    counts = {"linkspan.sessions.live": sessions, "linkspan.calls.running": calls}
    with _tracer.start_as_current_span(DRAIN, Context(), attributes=counts):
        yield


def _tell_failure(span: Span, error: Exception) -> str:
    """Say in a span how something failed; returns the same in one word."""
    if not isinstance(error, SessionError):
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(StatusCode.ERROR)
        return "failed"
    reason = ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_")
    if error.reason in _OUR_FAULTS:
        span.set_attribute("error.type", reason)
        span.set_status(StatusCode.ERROR)
    return reason.removeprefix("SESSION_").lower()
