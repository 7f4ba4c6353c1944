"""What spans say of sessions: each way into memory, and nothing where there was nothing to do."""

import asyncio
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, StatusCode
from tests.requirements import requirement
from tests.unit.session.session_servers import ADA, BOB, Fleet, run

from linkspan_session import session_spans
from linkspan_session.errors import (
    DrainingError,
    OverloadedError,
    OwnerUnreachableError,
    RecordTooNewError,
    SessionElsewhereError,
    SessionEndedError,
    SessionError,
    SessionExpiredError,
    SessionNotFoundError,
    StoreUnavailableError,
)
from linkspan_session.session_spans import (
    OUTCOME,
    OWNER_MATCH,
    chore,
    is_match,
    restoring,
    tell_claimed,
    tell_found,
)
from linkspan_session.store import SessionId


class Recorded:
    """A tracer, and what it has recorded."""

    def __init__(self) -> None:
        provider, self._exporter = TracerProvider(), InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("tests")

    def request(self) -> AbstractContextManager[Span]:
        """Be within the span of a request."""
        return self.tracer.start_as_current_span(
            "request", record_exception=False, set_status_on_exception=False
        )

    def ended(self) -> tuple[ReadableSpan, ...]:
        """Return the spans that have ended, in that order."""
        return self._exporter.get_finished_spans()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    monkeypatch.setattr(session_spans, "_tracer", recorded.tracer)
    return recorded


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def restored(
    spans: Recorded, error: Exception | None = None, *, taken_over: bool | None = None
) -> None:
    """Bring a session into memory in a request, one way or another."""
    with spans.request():
        async with restoring("a-session"):
            if taken_over is not None:
                tell_claimed(taken_over=taken_over, epoch=7)
            if error is not None:
                raise error


@requirement("trace.sessions")
@pytest.mark.parametrize(
    ("taken_over", "outcome"), [(None, "kept"), (False, "woken"), (True, "taken_over")]
)
def test_how_a_session_came_is_told_on_its_span_and_on_the_requests(
    spans: Recorded, taken_over: bool | None, outcome: str
) -> None:
    asyncio.run(restored(spans, taken_over=taken_over))
    restore, request = spans.ended()
    assert (restore.name, request.name) == ("session.restore", "request")
    assert said(request) == {OUTCOME: outcome}
    assert said(restore)[OUTCOME] == outcome
    assert said(restore).get("mcp.session.epoch") == (None if taken_over is None else 7)
    assert "a-session" not in str(said(restore))


@requirement("trace.sessions")
@pytest.mark.parametrize(
    ("error", "outcome", "error_type"),
    [
        (SessionNotFoundError(), "not_found", None),
        (SessionEndedError(), "ended", None),
        (SessionExpiredError(), "expired", None),
        (SessionElsewhereError("somewhere"), "elsewhere", None),
        (DrainingError(), "draining", None),
        (OwnerUnreachableError(), "owner_unreachable", "OWNER_UNREACHABLE"),
        (OverloadedError(), "overloaded", "OVERLOADED"),
        (StoreUnavailableError(), "store_unavailable", "STORE_UNAVAILABLE"),
        (RecordTooNewError(), "record_too_new", "RECORD_TOO_NEW"),
        (ValueError("the password is swordfish"), "failed", "ValueError"),
    ],
)
def test_why_a_session_did_not_come_is_told_and_what_is_our_fault_is_an_error(
    spans: Recorded, error: Exception, outcome: str, error_type: str | None
) -> None:
    with pytest.raises(type(error)):
        asyncio.run(restored(spans, error))
    restore, request = spans.ended()
    assert said(restore)[OUTCOME] == said(request)[OUTCOME] == outcome
    assert said(restore).get("error.type") == error_type
    assert (restore.status.status_code is StatusCode.ERROR) == (error_type is not None)
    assert "swordfish" not in restore.to_json()


def test_a_session_in_memory_costs_a_request_no_span(spans: Recorded) -> None:
    with spans.request():
        assert tell_found(time.monotonic() - 5, owner_match=True)
        assert is_match(owner_match=True)
    (request,) = spans.ended()
    assert said(request)[OWNER_MATCH] is True
    assert 5 <= said(request)[session_spans.INSTANCE_AGE] < 60
    assert not tell_found(0.0, owner_match=False)  # where nothing records, too


@pytest.mark.parametrize("in_memory", [True, False])
def test_another_principals_session_is_told_as_such(
    tmp_path: Path, spans: Recorded, in_memory: bool
) -> None:
    async def scenario(fleet: Fleet) -> None:
        server = await fleet.start("here")
        live = await server.create("s")
        if not in_memory:
            assert await server.sessions.sleep(live)
        with spans.request(), pytest.raises(SessionError):
            async with server.sessions.using(SessionId("s"), BOB):
                pass
        async with server.sessions.using(SessionId("s"), ADA):
            pass

    run(tmp_path, scenario)
    told = [said(span)[OWNER_MATCH] for span in spans.ended() if OWNER_MATCH in said(span)]
    assert told == [False]


# --- what no request waits for -------------------------------------------------------------------


@requirement("trace.sessions")
def test_a_round_with_nothing_to_do_is_no_span(spans: Recorded) -> None:
    with chore("session.sleep") as done:
        done["sessions.asleep"] += 0
    assert spans.ended() == ()


def test_a_round_is_a_trace_of_its_own_as_long_as_it_took(spans: Recorded) -> None:
    before = time.time_ns()
    with spans.request(), chore("session.sweep") as done:
        within = time.time_ns()
        done["sessions.swept"] += 3
    sweep, _ = spans.ended()
    assert sweep.parent is None  # whatever is around it
    assert said(sweep) == {"linkspan.sessions.swept": 3}
    assert sweep.start_time is not None
    assert sweep.end_time is not None
    assert before <= sweep.start_time <= within <= sweep.end_time


def test_a_round_that_fails_is_an_error(spans: Recorded) -> None:
    with pytest.raises(StoreUnavailableError), chore("session.sweep"):
        raise StoreUnavailableError
    (sweep,) = spans.ended()
    assert said(sweep) == {"error.type": "STORE_UNAVAILABLE"}
    assert sweep.status.status_code is StatusCode.ERROR
