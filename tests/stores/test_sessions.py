"""What every store promises of session records: creating, reading, listing, counting, expiring."""

import asyncio
import time

import pytest
from tests.requirements import requirement
from tests.stores.backends import NEWER, OLDEST, Backend
from tests.stores.scenarios import (
    ADA,
    BOB,
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
    everything,
    opened,
    record,
    run,
    run_twice,
    seen,
    until,
    writer,
)

from linkspan_session.errors import RecordTooNewError, TooManySessionsError
from linkspan_session.store import (
    NOBODY,
    Changes,
    Closed,
    Found,
    Handshake,
    NodeId,
    Preferences,
    Principal,
    SessionId,
    SessionRecord,
    Store,
)

# --- creating and reading ------------------------------------------------------------------------


@requirement("store.suite")
@pytest.mark.parametrize("principal", [ADA, Principal(), Principal("", "ünïcode 😀", "'\"; --")])
@pytest.mark.parametrize("handshake", [None, HANDSHAKE, Handshake("", "", initialized=True)])
@pytest.mark.parametrize("preferences", [Preferences(), PREFERENCES])
def test_a_record_is_read_as_it_was_created(
    backend: Backend,
    principal: Principal,
    handshake: Handshake | None,
    preferences: Preferences,
) -> None:
    async def scenario(store: Store) -> None:
        wanted = record(
            "a",
            principal=principal,
            handshake=handshake,
            preferences=preferences,
            last_active_millis=NOW + 1,
        )
        assert await store.sessions.create(wanted, max_of_principal=1) is None
        assert await store.sessions.get(SessionId("a")) == Found(wanted, owner_alive=False)

    run(backend, scenario)


def test_what_was_never_created_is_none(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await create(store, "a")
        for other in ("b", "", "A", "a ", "a' OR '1'='1", "*", "a:a"):
            assert await store.sessions.get(SessionId(other)) is None

    run(backend, scenario)


def test_creating_what_is_there_changes_nothing_and_returns_it(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await create(store, "a", handshake=HANDSHAKE)
        other = record("a", principal=BOB, owner=THERE, epoch=7, created_millis=NOW + 1)
        there = record("a", handshake=HANDSHAKE)
        assert await store.sessions.create(other, max_of_principal=PLENTY) == there
        assert await seen(store) == there
        # Bob has no session yet for all that.
        bobs = record("b", principal=BOB)
        assert await store.sessions.create(bobs, max_of_principal=1) is None

    run(backend, scenario)


def test_creating_what_was_closed_returns_it(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await store.sessions.commit(await create(store), CLOSE)
        there = await store.sessions.create(record("a"), max_of_principal=PLENTY)
        assert there is not None
        assert there == await seen(store)
        assert there.closed is Closed.ENDED

    run(backend, scenario)


def test_of_those_that_create_at_once_one_wins(backend: Backend) -> None:
    async def scenario(one: Store, other: Store) -> None:
        records = [record("a", last_active_millis=NOW + each) for each in range(20)]
        found = await asyncio.gather(
            *(
                store.sessions.create(each, max_of_principal=1)
                for store, each in zip([one, other] * 10, records, strict=True)
            )
        )
        assert found.count(None) == 1
        (winner,) = set(found) - {None}
        assert await seen(one) == winner == records[found.index(None)]

    run_twice(backend, scenario)


@requirement("store.suite")
def test_what_was_acknowledged_is_there_after_a_restart(backend: Backend) -> None:
    async def before(store: Store) -> None:
        await store.sessions.commit(await create(store), CONTENT)
        kept.update(await everything(store))

    async def after(store: Store) -> None:
        assert await everything(store) == kept

    kept: dict[str, object] = {}
    run(backend, before)
    run(backend, after)


def test_closing_a_store_finishes_what_is_under_way(backend: Backend) -> None:
    async def main() -> None:
        store = await backend.open()
        creating = [asyncio.create_task(create(store, str(each))) for each in range(20)]
        await asyncio.sleep(0)  # they have asked
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.close())
        await asyncio.gather(*creating)
        await closing
        async with opened(backend) as again:
            assert len(await again.sessions.list_page(None, PLENTY)) == 20

    asyncio.run(main())


# --- how many a principal may have ---------------------------------------------------------------


@requirement("session.limits")
def test_a_principal_has_room_for_so_many(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        sessions = store.sessions
        for each in ("a", "b"):
            assert await sessions.create(record(each), max_of_principal=2) is None
        with pytest.raises(TooManySessionsError):
            await sessions.create(record("c"), max_of_principal=2)
        assert await sessions.get(SessionId("c")) is None
        # Who is there already is returned all the same, and others have room of their own.
        assert await sessions.create(record("a"), max_of_principal=1) == record("a")
        assert await sessions.create(record("c", principal=BOB), max_of_principal=1) is None
        assert await sessions.create(record("d"), max_of_principal=3) is None

    run(backend, scenario)


@pytest.mark.parametrize(
    "other",
    [
        Principal(),
        ADA._replace(issuer="other"),
        ADA._replace(subject="other"),
        ADA._replace(resource="other"),
        Principal(ADA.issuer + ADA.subject, "", ADA.resource),
    ],
)
def test_who_differs_in_anything_is_another_principal(backend: Backend, other: Principal) -> None:
    async def scenario(store: Store) -> None:
        assert await store.sessions.create(record("a"), max_of_principal=1) is None
        theirs = record("b", principal=other)
        assert await store.sessions.create(theirs, max_of_principal=1) is None

    run(backend, scenario)


def test_what_is_closed_takes_no_room(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        for each in ("a", "b", "c"):
            assert await store.sessions.create(record(each), max_of_principal=1) is None
            await store.sessions.commit(writer(record(each)), CLOSE)
        assert await store.sessions.create(record("d"), max_of_principal=1) is None
        with pytest.raises(TooManySessionsError):
            await store.sessions.create(record("e"), max_of_principal=1)

    run(backend, scenario)


def test_room_changes_with_the_end_of_a_session_only(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await store.sessions.commit(await create(store), Changes(release=True))
        await store.sessions.claim(SessionId("a"), THERE, seen_epoch=1)
        await store.sessions.claim(SessionId("a"), HERE, seen_epoch=2)
        assert await store.sessions.create(record("b"), max_of_principal=2) is None
        with pytest.raises(TooManySessionsError):
            await store.sessions.create(record("c"), max_of_principal=2)

    run(backend, scenario)


def test_room_is_counted_across_restarts(backend: Backend) -> None:
    async def before(store: Store) -> None:
        await create(store, "a")
        await create(store, "b")
        await store.sessions.commit(writer(record("a")), CLOSE)

    async def after(store: Store) -> None:
        assert await store.sessions.create(record("c"), max_of_principal=2) is None
        with pytest.raises(TooManySessionsError):
            await store.sessions.create(record("d"), max_of_principal=2)

    run(backend, before)
    run(backend, after)


def test_room_for_one_more_is_given_once(backend: Backend) -> None:
    async def scenario(one: Store, other: Store) -> None:
        made = await asyncio.gather(
            *(
                store.sessions.create(record(str(number)), max_of_principal=3)
                for number, store in enumerate([one, other] * 5)
            ),
            return_exceptions=True,
        )
        assert made.count(None) == 3
        refused = [each for each in made if each is not None]
        assert all(isinstance(each, TooManySessionsError) for each in refused)

    run_twice(backend, scenario)


# --- listing -------------------------------------------------------------------------------------


def test_pages_hold_every_record_once_oldest_first_ties_by_id(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        # Created in another order than they are listed in, many in the same millisecond.
        made = [record(f"{each % 7}-{each}", created_millis=NOW + each % 3) for each in range(40)]
        for each in made:
            await store.sessions.create(each, max_of_principal=PLENTY)
        wanted = sorted(made, key=lambda each: (each.created_millis, each.session_id))
        for limit in (1, 3, 13, 40, 1000):
            listed: list[SessionRecord] = []
            after: tuple[int, SessionId] | None = None
            while page := await store.sessions.list_page(after, limit):
                assert len(page) <= limit
                listed += [found.record for found in page]
                after = (listed[-1].created_millis, listed[-1].session_id)
            assert listed == wanted

    run(backend, scenario)


def test_an_empty_store_has_an_empty_page(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        assert await store.sessions.list_page(None, 10) == []
        assert await store.sessions.list_page((10**15, SessionId("z")), 10) == []

    run(backend, scenario)


def test_a_page_leaves_out_what_is_closed_and_goes_on_behind_it(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        for each in ("a", "b", "c"):
            await create(store, each)
        (first,) = await store.sessions.list_page(None, 1)
        assert first.record == record("a")
        for each in ("a", "b"):
            await store.sessions.commit(writer(record(each)), CLOSE)
        for after in (None, (NOW, SessionId("a"))):
            page = await store.sessions.list_page(after, 1)
            assert [found.record for found in page] == [record("c")]

    run(backend, scenario)


def test_a_page_tells_whose_owners_are_alive(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await create(store, "a", owner=HERE)
        await create(store, "b", owner=THERE)
        await create(store, "c", owner=NOBODY)
        await store.nodes.hold(THERE, lease_seconds=60, live_sessions=1)
        page = await store.sessions.list_page(None, 10)
        assert [found.owner_alive for found in page] == [False, True, False]

    run(backend, scenario)


# --- whether the owner is alive ------------------------------------------------------------------


def test_an_owner_is_alive_as_long_as_its_lease(backend: Backend) -> None:
    async def scenario(one: Store, other: Store) -> None:
        await create(one)

        async def alive() -> bool:
            found = await other.sessions.get(SessionId("a"))
            assert found is not None
            return found.owner_alive

        assert not await alive()
        await one.nodes.hold(HERE, lease_seconds=60, live_sessions=0)
        assert await alive()
        await one.nodes.hold(HERE, lease_seconds=0.01, live_sessions=0)

        async def dead() -> bool:
            return not await alive()

        await until(dead, "the end of the lease")
        await one.nodes.hold(HERE, lease_seconds=60, live_sessions=0)
        assert await alive()
        await one.nodes.leave(HERE)
        assert not await alive()

    run_twice(backend, scenario)


def test_nobody_is_not_alive_nor_is_another_run_of_the_same_address(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await create(store, "a", owner=NOBODY)
        await create(store, "b", owner=NodeId("127.0.0.1:4001#before"))
        await store.nodes.hold(HERE, lease_seconds=60, live_sessions=0)
        for each in ("a", "b"):
            found = await store.sessions.get(SessionId(each))
            assert found is not None
            assert not found.owner_alive

    run(backend, scenario)


# --- expiring ------------------------------------------------------------------------------------


@requirement("session.expiry")
def test_what_is_due_expires_whoever_owns_it(backend: Backend) -> None:
    """By the real time, because a store may go by its own clock."""

    async def scenario(store: Store) -> None:
        sessions = store.sessions
        await store.nodes.hold(HERE, lease_seconds=60, live_sessions=0)
        due = await create(store, "due", expires_millis=time.time_ns() // 1_000_000 + 200)
        await create(store, "later")
        await sessions.commit(due, Changes(storage={"x": b"x"}))

        async def over() -> bool:
            now = time.time_ns() // 1_000_000
            await sessions.expire(now, keep_until_millis=now + HOUR, limit=10)
            found = await sessions.get(SessionId("due"))
            return found is None or found.record.closed is Closed.EXPIRED

        await until(over, "the session's end")
        assert await sessions.read_storage(SessionId("due")) == {}
        assert [found.record for found in await sessions.list_page(None, 10)] == [record("later")]
        assert await sessions.create(record("new"), max_of_principal=2) is None

    run(backend, scenario)


def test_what_expires_is_kept_as_closed_and_then_removed(backend: Backend) -> None:
    if backend.expires_by_itself:
        return  # it would take the hours that are skipped here

    async def scenario(store: Store) -> None:
        sessions = store.sessions
        ownership = await create(store, expires_millis=NOW + 10)
        await sessions.commit(ownership, CONTENT)
        kept = NOW + HOUR
        assert await sessions.expire(NOW + 9, keep_until_millis=kept, limit=9) == 0
        assert (await seen(store)).closed is None
        told: list[SessionId] = []
        done = await sessions.expire(NOW + 10, keep_until_millis=kept, limit=9, expired=told)
        assert (done, told) == (1, [SessionId("a")])
        there = await seen(store)
        assert (there.closed, there.owner, there.epoch) == (Closed.EXPIRED, NOBODY, 2)
        assert there.expires_millis == kept
        assert await sessions.read_events(SessionId("a"), "s", after=0) == []
        assert await sessions.stored_bytes((SessionId("a"),)) == {SessionId("a"): 0}
        assert await sessions.expire(kept - 1, keep_until_millis=kept, limit=9) == 0
        assert await seen(store) == there
        done = await sessions.expire(kept, keep_until_millis=kept, limit=9, expired=told)
        assert (done, told) == (1, [SessionId("a")])  # what is removed has been told of
        assert await sessions.get(SessionId("a")) is None
        assert await sessions.expire(kept, keep_until_millis=kept, limit=9) == 0
        assert await sessions.create(record("a"), max_of_principal=1) is None

    run(backend, scenario)


def test_so_many_at_most_expire_at_once(backend: Backend) -> None:
    if backend.expires_by_itself:
        return

    async def scenario(store: Store) -> None:
        sessions = store.sessions
        for each in range(5):
            await create(store, str(each), expires_millis=NOW - each)
        for closed, left in ((2, 3), (2, 1), (1, 0)):
            assert await sessions.expire(NOW, keep_until_millis=NOW + 1, limit=2) == closed
            assert len(await sessions.list_page(None, 10)) == left
        for removed, left in ((2, 3), (2, 1), (1, 0)):
            assert await sessions.expire(NOW + 1, keep_until_millis=NOW + HOUR, limit=2) == removed
            there = [await sessions.get(SessionId(str(each))) for each in range(5)]
            assert len(there) - there.count(None) == left

    run(backend, scenario)


def test_expire_says_less_than_the_limit_only_when_nothing_is_left(backend: Backend) -> None:
    if backend.expires_by_itself:
        return

    async def scenario(store: Store) -> None:
        sessions = store.sessions
        for each in range(5):
            await create(store, f"closed-{each}", expires_millis=NOW - HOUR)
        assert await sessions.expire(NOW - HOUR, keep_until_millis=NOW, limit=9) == 5
        for each in range(3):
            await create(store, f"due-{each}", expires_millis=NOW)
            await create(store, f"later-{each}", expires_millis=NOW + HOUR)
        rounds = 0
        while await sessions.expire(NOW, keep_until_millis=NOW + HOUR, limit=2) == 2:
            rounds += 1
        assert rounds <= 4
        for each in range(5):
            assert await sessions.get(SessionId(f"closed-{each}")) is None
        for each in range(3):
            assert (await seen(store, f"due-{each}")).closed is Closed.EXPIRED
            assert (await seen(store, f"later-{each}")).closed is None

    run(backend, scenario)


# --- records of other versions -------------------------------------------------------------------


@requirement("store.versions")
def test_a_record_of_the_oldest_version_is_read_and_written(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        ownership = await create(store, handshake=HANDSHAKE)
        backend.set_session_version(SessionId("a"), OLDEST)
        assert await seen(store) == record("a", handshake=HANDSHAKE)
        assert len(await store.sessions.list_page(None, 10)) == 1
        assert await store.sessions.commit(ownership, CONTENT) == 2
        backend.set_session_version(SessionId("a"), OLDEST)
        assert await store.sessions.claim(SessionId("a"), THERE, seen_epoch=1) is not None

    run(backend, scenario)


@requirement("store.versions")
def test_a_record_of_a_newer_version_is_not_misread_and_not_touched(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        sessions, key = store.sessions, SessionId("new")
        await create(store, "old")
        ownership = await create(store, "new")
        backend.set_session_version(key, NEWER)
        with pytest.raises(RecordTooNewError):
            await sessions.get(key)
        with pytest.raises(RecordTooNewError):
            await sessions.create(record("new"), max_of_principal=PLENTY)
        with pytest.raises(RecordTooNewError):
            await sessions.claim(key, THERE, seen_epoch=1)
        for changes in (Changes(), CLOSE, Changes(handshake=HANDSHAKE, storage={"x": b"x"})):
            with pytest.raises(RecordTooNewError):
                await sessions.commit(ownership, changes)
        assert [found.record for found in await sessions.list_page(None, 10)] == [record("old")]
        backend.set_session_version(key, OLDEST)
        assert await seen(store, "new") == record("new")

    run(backend, scenario)


def test_a_record_of_a_newer_version_does_not_expire_here(backend: Backend) -> None:
    if backend.expires_by_itself:
        return

    async def scenario(store: Store) -> None:
        await create(store, expires_millis=NOW)
        backend.set_session_version(SessionId("a"), NEWER)
        assert await store.sessions.expire(NOW, keep_until_millis=NOW, limit=9) == 0
        backend.set_session_version(SessionId("a"), OLDEST)
        assert await store.sessions.expire(NOW, keep_until_millis=NOW, limit=9) == 1
        backend.set_session_version(SessionId("a"), NEWER)
        await store.sessions.expire(NOW, keep_until_millis=NOW, limit=9)
        backend.set_session_version(SessionId("a"), OLDEST)
        assert (await seen(store)).closed is Closed.EXPIRED

    run(backend, scenario)
