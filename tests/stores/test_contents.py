"""What every store promises of a session's contents: streams, events, storage."""

import pytest
from tests.stores.backends import Backend
from tests.stores.scenarios import create, event, run, run_twice, seen, stream

from linkspan_contract.envelope import RequestId
from linkspan_session.store import Changes, SessionId, Store

A = SessionId("a")

# --- streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_id", [None, 1, "1", 0, "", -5, 2**53, "é😀"])
def test_a_stream_is_read_as_it_was_added(backend: Backend, request_id: RequestId | None) -> None:
    async def scenario(store: Store) -> None:
        wanted = stream("s", request_id=request_id, traceparent="00-é", request_key="r")
        await store.sessions.commit(await create(store), Changes(streams=(wanted,)))
        there = await store.sessions.get_stream(A, "s")
        assert there is not None
        assert there == wanted
        assert type(there.request_id) is type(request_id)

    run(backend, scenario)


def test_a_stream_that_is_there_stays_as_it_is(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        ownership = await create(store)
        first = Changes(streams=(stream("s", traceparent="first"),), events=(event("s", 1),))
        await store.sessions.commit(ownership, first)
        again = Changes(streams=(stream("s", traceparent="again", request_key="r"), stream("t")))
        await store.sessions.commit(ownership, again)
        wanted = stream("s", traceparent="first", last_sequence=1)
        assert await store.sessions.get_stream(A, "s") == wanted
        assert await store.sessions.get_stream(A, "t") == stream("t")
        assert await store.sessions.find_stream(A, "r") is None
        assert await store.sessions.read_events(A, "s", after=0) == [(1, b"{}")]

    run(backend, scenario)


def test_what_is_not_there_is_none_or_empty(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await store.sessions.commit(await create(store), Changes(streams=(stream("s"),)))
        await create(store, "b")
        for session, name in ((A, "t"), (A, ""), (A, "S"), (SessionId("b"), "s")):
            assert await store.sessions.get_stream(session, name) is None
            assert await store.sessions.read_events(session, name, after=0) == []
        for session in (A, SessionId("b"), SessionId("none")):
            assert await store.sessions.find_stream(session, "none") is None
            assert await store.sessions.read_storage(session) == {}

    run(backend, scenario)


def test_a_stream_is_found_by_the_request_that_it_answers(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        streams = (
            stream("s", request_key="r"),
            stream("t", request_key="é😀"),
            stream("none", request_key=""),
        )
        await store.sessions.commit(await create(store), Changes(streams=streams))
        other = stream("u", "b", request_key="r")
        await store.sessions.commit(await create(store, "b"), Changes(streams=(other,)))
        assert await store.sessions.find_stream(A, "r") == streams[0]
        assert await store.sessions.find_stream(A, "é😀") == streams[1]
        assert await store.sessions.find_stream(SessionId("b"), "r") == other
        for key in ("", "R", "none"):
            assert await store.sessions.find_stream(A, key) is None

    run(backend, scenario)


def test_of_streams_of_one_request_the_newest_is_found(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        ownership = await create(store)
        newest = stream("s", request_key="r", created_millis=7)
        for each in (
            stream("t", request_key="r", created_millis=5),
            newest,
            stream("u", request_key="r", created_millis=6),
        ):
            await store.sessions.commit(ownership, Changes(streams=(each,)))
        assert await store.sessions.find_stream(A, "r") == newest

    run(backend, scenario)


# --- events --------------------------------------------------------------------------------------


def test_events_are_read_in_order_after_a_number(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        ownership = await create(store)
        messages = [b"", b"\x00\xff\xfe", "é😀".encode(), b"x" * 100_000]
        messages += [str(each).encode() for each in range(8)]  # 10 comes after 9
        await store.sessions.commit(ownership, Changes(streams=(stream("s"), stream("t"))))
        for number, message in enumerate(messages, 1):
            await store.sessions.commit(
                ownership, Changes(events=(event("s", number, message), event("t", number)))
            )
        wanted = list(enumerate(messages, 1))
        for after in (0, 1, 7, 11, 12, 99):
            assert await store.sessions.read_events(A, "s", after=after) == wanted[after:]
        assert await store.sessions.get_stream(A, "s") == stream("s", last_sequence=12)

    run(backend, scenario)


def test_events_of_several_streams_are_added_at_once(backend: Backend) -> None:
    async def scenario(one: Store, other: Store) -> None:
        changes = Changes(
            streams=(stream("s"), stream("t")),
            events=(
                event("s", 1, b"1"),
                event("t", 1, b"2", last=True),
                event("s", 2, b"3"),
                event("s", 3, b"4", last=True),
            ),
        )
        assert await one.sessions.commit(await create(one), changes) == 2
        assert await other.sessions.read_events(A, "s", after=0) == [
            (1, b"1"),
            (2, b"3"),
            (3, b"4"),
        ]
        assert await other.sessions.read_events(A, "t", after=0) == [(1, b"2")]
        for name, last in (("s", 3), ("t", 1)):
            wanted = stream(name, finished=True, last_sequence=last)
            assert await other.sessions.get_stream(A, name) == wanted

    run_twice(backend, scenario)


# --- storage -------------------------------------------------------------------------------------


def test_storage_keeps_what_was_set_last(backend: Backend) -> None:
    async def scenario(one: Store, other: Store) -> None:
        ownership = await create(one)
        await create(one, "b")
        first = {"a": b"1", "é😀": b"\x00\xff", "": b"empty name", "empty": b"", "go": b"gone"}
        await one.sessions.commit(ownership, Changes(storage=first))
        assert await other.sessions.read_storage(A) == first
        await one.sessions.commit(ownership, Changes(storage={"a": b"22", "go": None}))
        await one.sessions.commit(ownership, Changes(storage={"go": None, "never": None}))
        wanted = {"a": b"22", "é😀": b"\x00\xff", "": b"empty name", "empty": b""}
        assert await other.sessions.read_storage(A) == wanted
        assert await other.sessions.read_storage(SessionId("b")) == {}
        assert (await seen(one)).version == 4

    run_twice(backend, scenario)


def test_what_a_session_takes_follows_all_changes(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        ownership = await create(store)
        await create(store, "b")
        steps: list[tuple[Changes, int]] = [
            (Changes(storage={"x": b"x" * 10, "y": b"y" * 5}), 15),
            (Changes(storage={"x": b"x"}), 6),
            (Changes(storage={"x": None, "none": None}), 5),
            (Changes(streams=(stream("s"),), events=(event("s", 1, b"12345"),)), 10),
            (Changes(storage={"y": b"y" * 5}, events=(event("s", 2, b"1", last=True),)), 11),
            (Changes(storage={"y": b""}), 6),
        ]
        for changes, wanted in steps:
            await store.sessions.commit(ownership, changes)
            keys = (A, SessionId("b"), SessionId("none"))
            sizes = await store.sessions.stored_bytes(keys)
            assert sizes == {A: wanted, SessionId("b"): 0, SessionId("none"): 0}
        assert await store.sessions.stored_bytes(()) == {}

    run(backend, scenario)
