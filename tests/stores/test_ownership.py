"""What every store promises of ownership: one owner at a time, and commits of no other."""

import asyncio
import dataclasses
from dataclasses import replace

import pytest
from tests.stores.backends import Backend
from tests.stores.scenarios import (
    ALL,
    CLOSE,
    CONTENT,
    HANDSHAKE,
    HERE,
    HOUR,
    NOW,
    PLENTY,
    PREFERENCES,
    THERE,
    create,
    event,
    everything,
    record,
    run,
    run_twice,
    seen,
    stream,
    writer,
)

from linkspan_session.errors import NotOwnerError
from linkspan_session.store import (
    NOBODY,
    Changes,
    Closed,
    Found,
    Handshake,
    NodeId,
    Ownership,
    SessionId,
    Store,
)

A = SessionId("a")

# --- claims --------------------------------------------------------------------------------------


def test_a_claim_makes_the_owner_with_the_next_epoch(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await store.sessions.commit(await create(store), CONTENT)
        before = await everything(store)
        claimed = await store.sessions.claim(A, THERE, seen_epoch=1)
        assert claimed is not None
        assert (claimed.owner, claimed.epoch) == (THERE, 2)
        found = Found(claimed, owner_alive=False)
        assert await everything(store) == {**before, "record": found, "listed": [found]}
        assert replace(claimed, owner=HERE, epoch=1, version=2) == record("a", version=2)

    run(backend, scenario)


@pytest.mark.parametrize("owner", [NOBODY, HERE, THERE])
def test_whoever_owned_it_before_a_claim_counts(backend: Backend, owner: NodeId) -> None:
    async def scenario(store: Store) -> None:
        await create(store, owner=owner)
        await store.nodes.hold(HERE, lease_seconds=60, live_sessions=0)
        for epoch in (1, 2, 3):
            claimed = await store.sessions.claim(A, HERE, seen_epoch=epoch)
            assert claimed is not None
            assert claimed == await seen(store)
            assert claimed.epoch == epoch + 1
        found = await store.sessions.get(A)
        assert found is not None
        assert found.owner_alive

    run(backend, scenario)


def test_a_claim_that_saw_another_epoch_changes_nothing(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await create(store)
        assert await store.sessions.claim(A, THERE, seen_epoch=1) is not None
        before = await seen(store)
        for epoch in (0, 1, 3):
            assert await store.sessions.claim(A, HERE, seen_epoch=epoch) is None
        assert await seen(store) == before

    run(backend, scenario)


def test_what_is_closed_or_gone_cannot_be_claimed(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await store.sessions.commit(await create(store), CLOSE)
        before = await seen(store)
        for epoch in (1, before.epoch):
            assert await store.sessions.claim(A, THERE, seen_epoch=epoch) is None
        assert await seen(store) == before
        assert await store.sessions.claim(SessionId("b"), THERE, seen_epoch=1) is None
        assert await store.sessions.get(SessionId("b")) is None

    run(backend, scenario)


def test_of_claims_that_saw_one_epoch_one_wins(backend: Backend) -> None:
    async def scenario(one: Store, other: Store) -> None:
        for number in range(10):
            key = SessionId(str(number))
            await create(one, key)
            claims = await asyncio.gather(
                *(
                    store.sessions.claim(key, NodeId(f"127.0.0.1:1#{each}"), seen_epoch=1)
                    for each, store in enumerate([one, other] * 4)
                )
            )
            (won,) = [each for each in claims if each is not None]
            assert await seen(one, key) == await seen(other, key) == won
            assert won.epoch == 2

    run_twice(backend, scenario)


# --- commits -------------------------------------------------------------------------------------


def test_commits_are_counted(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        ownership = await create(store)
        for version in (2, 3, 4):
            assert await store.sessions.commit(ownership, Changes()) == version
            assert await seen(store) == record("a", version=version)

    run(backend, scenario)


CHANGES: dict[str, Changes] = {
    "handshake": Changes(handshake=HANDSHAKE),
    "another handshake": Changes(handshake=Handshake("2025-06-18", "{}", initialized=True)),
    "preferences": Changes(preferences=PREFERENCES),
    "last_active_millis": Changes(last_active_millis=NOW + 5),
    "expires_millis": Changes(expires_millis=NOW + 5 * HOUR),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("handshake", [None, HANDSHAKE])
def test_a_commit_changes_what_it_names(
    backend: Backend, name: str, handshake: Handshake | None
) -> None:
    changes = CHANGES[name]

    async def scenario(store: Store) -> None:
        there = record("a", handshake=handshake, preferences=PREFERENCES)
        assert await store.sessions.create(there, max_of_principal=PLENTY) is None
        await create(store, "b")
        await store.sessions.commit(writer(there), changes)
        named = {
            each.name: getattr(changes, each.name)
            for each in dataclasses.fields(changes)
            if each.name in {"handshake", "preferences", "last_active_millis", "expires_millis"}
            and getattr(changes, each.name) is not None
        }
        assert await seen(store) == replace(there, version=2, **named)
        assert await seen(store, "b") == record("b")

    run(backend, scenario)


def test_a_commit_writes_all_it_holds(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        ownership = await create(store)
        await store.sessions.commit(ownership, CONTENT)
        assert await store.sessions.commit(ownership, ALL) == 3
        wanted = record(
            "a",
            handshake=HANDSHAKE,
            preferences=PREFERENCES,
            last_active_millis=NOW + 1,
            expires_millis=NOW + 2 * HOUR,
            owner=NOBODY,
            version=3,
        )
        assert await everything(store) == {
            "record": Found(wanted, owner_alive=False),
            "streams": [
                stream("s", last_sequence=2, finished=True),
                stream("t", request_key="request", last_sequence=1),
            ],
            "events": [[(1, b"one"), (2, b"two")], [(1, b"{}")]],
            "requests": stream("t", request_key="request", last_sequence=1),
            "storage": {"new": b"new value"},
            "bytes": {A: len(b"one" + b"two" + b"{}" + b"new value")},
            "listed": [Found(wanted, owner_alive=False)],
        }

    run(backend, scenario)


def test_who_releases_a_session_owns_it_no_more_and_it_can_be_claimed(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        ownership = await create(store)
        await store.sessions.commit(ownership, Changes(release=True))
        released = await seen(store)
        assert released == record("a", owner=NOBODY, version=2)
        for owner in (HERE, NOBODY):
            with pytest.raises(NotOwnerError):
                await store.sessions.commit(replace(ownership, owner=owner), CONTENT)
        claimed = await store.sessions.claim(A, HERE, seen_epoch=released.epoch)
        assert claimed is not None
        assert claimed.epoch == 2
        with pytest.raises(NotOwnerError):
            await store.sessions.commit(ownership, CONTENT)
        assert await store.sessions.commit(writer(claimed), CONTENT) == claimed.version + 1

    run(backend, scenario)


# --- commits that are refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    "ownership",
    [
        Ownership(A, THERE, 2),
        Ownership(A, NOBODY, 2),
        Ownership(A, NodeId("127.0.0.1:4001"), 2),
        Ownership(A, HERE, 1),
        Ownership(A, HERE, 3),
        Ownership(SessionId("b"), HERE, 2),
    ],
)
@pytest.mark.parametrize("changes", [Changes(), ALL, CLOSE], ids=["empty", "all", "close"])
def test_a_commit_of_another_is_refused_as_a_whole(
    backend: Backend, ownership: Ownership, changes: Changes
) -> None:
    async def scenario(store: Store) -> None:
        await store.sessions.commit(await create(store), CONTENT)
        await store.sessions.claim(A, HERE, seen_epoch=1)
        before = await everything(store)
        with pytest.raises(NotOwnerError):
            await store.sessions.commit(ownership, changes)
        assert await everything(store) == before
        assert await store.sessions.get(SessionId("b")) is None

    run(backend, scenario)


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("owner", [HERE, NOBODY])
@pytest.mark.parametrize("changes", [Changes(), ALL, CLOSE], ids=["empty", "all", "close"])
def test_a_commit_to_what_is_closed_is_refused(
    backend: Backend, epoch: int, owner: NodeId, changes: Changes
) -> None:
    async def scenario(store: Store) -> None:
        await store.sessions.commit(await create(store), CLOSE)
        before = await everything(store)
        with pytest.raises(NotOwnerError):
            await store.sessions.commit(Ownership(A, owner, epoch), changes)
        assert await everything(store) == before

    run(backend, scenario)


def test_nothing_of_the_old_owner_is_written_once_there_is_a_new_one(backend: Backend) -> None:
    async def scenario(one: Store, other: Store) -> None:
        ownership = await create(one)
        await one.sessions.commit(ownership, Changes(streams=(stream("s"),)))
        claimed: list[Ownership] = []
        written = 0

        async def write() -> None:
            nonlocal written
            while True:
                old = Changes(events=(event("s", written + 1, b"old"),))
                await one.sessions.commit(ownership, old)
                written += 1

        async def claim() -> None:
            while written < 5:  # noqa: ASYNC110 - it goes on between two commits
                await asyncio.sleep(0)
            new = await other.sessions.claim(A, THERE, seen_epoch=1)
            assert new is not None
            claimed.append(writer(new))

        refused, _ = await asyncio.gather(write(), claim(), return_exceptions=True)
        assert isinstance(refused, NotOwnerError)
        assert (await seen(one)).version == written + 2
        news = Changes(events=(event("s", written + 1, b"new"),))
        await other.sessions.commit(claimed[0], news)
        events = await one.sessions.read_events(A, "s", after=0)
        assert [message for _, message in events] == [b"old"] * written + [b"new"]

    run_twice(backend, scenario)


# --- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", list(Closed))
def test_only_the_record_of_what_is_closed_stays(backend: Backend, how: Closed) -> None:
    async def scenario(store: Store) -> None:
        ownership = await create(store, handshake=HANDSHAKE)
        other = await create(store, "b")
        await store.sessions.commit(ownership, CONTENT)
        await store.sessions.commit(other, CONTENT)
        version = await store.sessions.commit(
            ownership,
            Changes(
                closed=how,
                expires_millis=NOW + 3 * HOUR,
                last_active_millis=NOW + 9,
                streams=(stream("t"),),
                events=(event("s", 2), event("t", 1)),
                storage={"late": b"late"},
            ),
        )
        assert version == 3
        wanted = record(
            "a",
            handshake=HANDSHAKE,
            owner=NOBODY,
            epoch=2,
            version=3,
            closed=how,
            last_active_millis=NOW + 9,
            expires_millis=NOW + 3 * HOUR,
        )
        assert await everything(store) == {
            "record": Found(wanted, owner_alive=False),
            "streams": [None, None],
            "events": [[], []],
            "requests": None,
            "storage": {},
            "bytes": {A: 0},
            "listed": [Found(record("b", version=2), owner_alive=False)],
        }
        assert await store.sessions.read_storage(SessionId("b")) == CONTENT.storage
        assert await store.sessions.read_events(SessionId("b"), "s", after=0) == [(1, b"one")]

    run(backend, scenario)
