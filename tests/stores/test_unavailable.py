"""What every store promises when it fails: it says so, has changed nothing, and goes on later."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.requirements import requirement
from tests.stores.backends import Backend
from tests.stores.scenarios import (
    ALL,
    BOB,
    CLOSE,
    CONTENT,
    HERE,
    HOUR,
    NOW,
    PLENTY,
    THERE,
    create,
    everything,
    record,
    run,
    until,
    writer,
)
from tests.support.tasks import RECORD

from linkspan_session.errors import StoreUnavailableError
from linkspan_session.store import NodeLoad, SessionId, Store

A = SessionId("a")

ASKS: dict[str, Callable[[Store], Coroutine[Any, Any, object]]] = {
    "create": lambda store: store.sessions.create(
        record("b", principal=BOB), max_of_principal=PLENTY
    ),
    "get": lambda store: store.sessions.get(A),
    "claim": lambda store: store.sessions.claim(A, THERE, seen_epoch=1),
    "commit": lambda store: store.sessions.commit(writer(record("a")), ALL),
    "commit of the end": lambda store: store.sessions.commit(writer(record("a")), CLOSE),
    "expire": lambda store: store.sessions.expire(
        NOW + 9 * HOUR, keep_until_millis=NOW, limit=PLENTY
    ),
    "list_page": lambda store: store.sessions.list_page(None, 10),
    "stored_bytes": lambda store: store.sessions.stored_bytes((A,)),
    "get_stream": lambda store: store.sessions.get_stream(A, "s"),
    "find_stream": lambda store: store.sessions.find_stream(A, "request"),
    "read_events": lambda store: store.sessions.read_events(A, "s", after=0),
    "read_storage": lambda store: store.sessions.read_storage(A),
    "hold": lambda store: store.nodes.hold(THERE, lease_seconds=60, live_sessions=9),
    "is_alive": lambda store: store.nodes.is_alive(HERE),
    "leave": lambda store: store.nodes.leave(HERE),
    "tasks.create": lambda store: store.tasks.create(RECORD, max_unfinished=9, max_kept=9),
    "tasks.get": lambda store: store.tasks.get(RECORD.task_id, RECORD.created_millis),
    "tasks.replace": lambda store: store.tasks.replace(RECORD),
    "tasks.unfinished": lambda store: store.tasks.unfinished(RECORD.runner),
}


@requirement("store.away")
def test_a_store_that_fails_says_so_and_serves_again_later(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await store.sessions.commit(await create(store), CONTENT)
        before = await everything(store)
        backend.take_away()
        for name, ask in ASKS.items():
            if name == "expire" and backend.expires_by_itself:
                continue  # it has nothing to ask
            with pytest.raises(StoreUnavailableError):
                await ask(store)
        backend.bring_back()

        async def serves() -> bool:
            try:
                await store.sessions.get(A)
            except StoreUnavailableError:
                return False
            return True

        await until(serves, "the store's return")
        assert await everything(store) == before
        assert await store.sessions.get(SessionId("b")) is None
        assert await store.tasks.get(RECORD.task_id, RECORD.created_millis) is None
        held = await store.nodes.hold(HERE, lease_seconds=60, live_sessions=1)
        assert held == (NodeLoad(HERE, 1),)
        assert await store.sessions.commit(writer(record("a")), ALL) == 3

    run(backend, scenario)


def test_what_was_acknowledged_before_is_there_for_all_afterwards(backend: Backend) -> None:
    async def before(store: Store) -> None:
        await store.sessions.commit(await create(store), CONTENT)
        assert await store.tasks.create(RECORD, max_unfinished=9, max_kept=9)
        backend.take_away()

    async def after(store: Store) -> None:
        assert await store.sessions.read_storage(A) == CONTENT.storage
        assert await store.tasks.get(RECORD.task_id, RECORD.created_millis) == RECORD

    run(backend, before)
    backend.bring_back()
    run(backend, after)
