"""What the tests of stores share: records, who writes to them, and running a scenario."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.stores.backends import Backend
from tests.support.waiting import PATIENCE_SECONDS

from linkspan_session.store import (
    Changes,
    Closed,
    EventRecord,
    Handshake,
    NodeId,
    Ownership,
    Preferences,
    Principal,
    SessionId,
    SessionRecord,
    Store,
    StreamRecord,
)
from linkspan_session.store.base import DEFAULT_MAX_LOG_BYTES

ADA: Final = Principal("https://issuer.example", "ada", "https://mcp.example")
BOB: Final = Principal("https://issuer.example", "bob", "https://mcp.example")
HANDSHAKE: Final = Handshake("2025-11-25", '{"clientInfo":{"name":"é😀"}}', initialized=False)
PREFERENCES: Final = Preferences("warning", ("file:///é", "x:"), '{"a":1}')

HERE: Final = NodeId("127.0.0.1:4001#here")
THERE: Final = NodeId("127.0.0.1:4002#there")

NOW: Final = time.time_ns() // 1_000_000
HOUR: Final = 3_600_000
"""In milliseconds, as all times here."""

PLENTY: Final = 1000

CLOSE: Final = Changes(closed=Closed.ENDED, expires_millis=NOW + HOUR)

Scenario = Callable[[Store], Coroutine[Any, Any, None]]


def record(session_id: str, **changes: Any) -> SessionRecord:
    """Return a session of Ada's that is owned here."""
    plain = SessionRecord(
        session_id=SessionId(session_id),
        principal=ADA,
        handshake=None,
        created_millis=NOW,
        last_active_millis=NOW,
        expires_millis=NOW + HOUR,
        owner=HERE,
    )
    return dataclasses.replace(plain, **changes)


async def create(store: Store, session_id: str = "a", **changes: Any) -> Ownership:
    """Put a session on record; returns what its owner writes as."""
    made = record(session_id, **changes)
    assert await store.sessions.create(made, max_of_principal=PLENTY) is None
    return writer(made)


def writer(of: SessionRecord) -> Ownership:
    return Ownership(of.session_id, of.owner, of.epoch)


async def seen(store: Store, session_id: str = "a") -> SessionRecord:
    """Return a session that is there."""
    found = await store.sessions.get(SessionId(session_id))
    assert found is not None
    return found.record


def stream(stream_id: str, session_id: str = "a", **changes: Any) -> StreamRecord:
    plain = StreamRecord(
        session_id=SessionId(session_id),
        stream_id=stream_id,
        request_id=1,
        traceparent="",
        created_millis=NOW,
    )
    return plain._replace(**changes)


def event(
    stream_id: str, sequence: int, message: bytes = b"{}", *, last: bool = False
) -> EventRecord:
    return EventRecord(stream_id, sequence, message, last)


async def everything(store: Store, session_id: str = "a") -> dict[str, object]:
    """Return all that a store tells of a session, to see what a call has changed."""
    key, sessions = SessionId(session_id), store.sessions
    streams = ("s", "t")
    return {
        "record": await sessions.get(key),
        "streams": [await sessions.get_stream(key, each) for each in streams],
        "events": [await sessions.read_events(key, each, after=0) for each in streams],
        "requests": await sessions.find_stream(key, "request"),
        "storage": await sessions.read_storage(key),
        "bytes": await sessions.stored_bytes((key,)),
        "listed": await sessions.list_page(None, PLENTY),
    }


CONTENT: Final = Changes(
    streams=(stream("s"),), events=(event("s", 1, b"one"),), storage={"kept": b"value"}
)
"""Something of each kind, in a session that has nothing yet."""

ALL: Final = Changes(
    handshake=HANDSHAKE,
    preferences=PREFERENCES,
    last_active_millis=NOW + 1,
    expires_millis=NOW + 2 * HOUR,
    streams=(stream("t", request_key="request"),),
    events=(event("s", 2, b"two", last=True), event("t", 1)),
    storage={"kept": None, "new": b"new value"},
    release=True,
)
"""Something of each kind on top of `CONTENT`."""


@asynccontextmanager
async def opened(
    backend: Backend, max_log_bytes: int = DEFAULT_MAX_LOG_BYTES
) -> AsyncGenerator[Store]:
    store = await backend.open(max_log_bytes=max_log_bytes)
    try:
        yield store
    finally:
        await store.close()


def run(
    backend: Backend, scenario: Scenario, *, max_log_bytes: int = DEFAULT_MAX_LOG_BYTES
) -> None:
    """Run a scenario on an open store."""

    async def main() -> None:
        async with asyncio.timeout(50), opened(backend, max_log_bytes) as store:
            await scenario(store)

    asyncio.run(main())


def run_twice(
    backend: Backend, scenario: Callable[[Store, Store], Coroutine[Any, Any, None]]
) -> None:
    """Run a scenario on two stores that were opened apart and hold the same."""

    async def main() -> None:
        async with asyncio.timeout(50), opened(backend) as one, opened(backend) as other:
            await scenario(one, other)

    asyncio.run(main())


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for what time brings; fails the test if it does not in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.01)
