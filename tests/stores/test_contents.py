"""What every store promises of a session's contents: streams, events, their bounds, storage."""

import pytest
from tests.stores.backends import Backend
from tests.stores.scenarios import create, event, run, run_twice, seen, stream

from linkspan_contract.envelope import RequestId
from linkspan_session.store import Changes, EventRecord, Ownership, SessionId, Store
from linkspan_session.store.base import MAX_FINISHED_STREAMS

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


# --- bounds --------------------------------------------------------------------------------------

BOUND = 1000


class Log:
    """A session's streams, written to in steps of 100 bytes."""

    def __init__(self, store: Store, ownership: Ownership) -> None:
        self.store = store
        self.ownership = ownership
        self.created = 0

    async def stream(self, name: str, *, events: int = 0, finish: bool = False) -> None:
        """Open a stream, each newer than the ones before, and write to it."""
        self.created += 1
        new = stream(name, self.ownership.session_id, created_millis=self.created)
        await self.store.sessions.commit(self.ownership, Changes(streams=(new,)))
        for number in range(1, events + 1):
            await self.write(event(name, number, b"x" * 100, last=finish and number == events))

    async def write(self, *events: EventRecord) -> None:
        await self.store.sessions.commit(self.ownership, Changes(events=events))

    async def there(self, *names: str) -> dict[str, list[int]]:
        """Return the numbers of the events that are kept, by stream."""
        kept: dict[str, list[int]] = {}
        for name in names:
            found = await self.store.sessions.get_stream(self.ownership.session_id, name)
            if found is not None:
                events = await self.store.sessions.read_events(
                    self.ownership.session_id, name, after=0
                )
                kept[name] = [number for number, _ in events]
                assert found.first_sequence == (kept[name][0] if kept[name] else 1)
        return kept

    async def bytes(self) -> int:
        key = self.ownership.session_id
        return (await self.store.sessions.stored_bytes((key,)))[key]


def test_within_the_bound_all_is_kept(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await log.stream("s", events=4, finish=True)
        await log.stream("t", events=6)
        assert await log.there("s", "t") == {"s": [1, 2, 3, 4], "t": [1, 2, 3, 4, 5, 6]}
        assert await log.bytes() == BOUND

    run(backend, scenario, max_log_bytes=BOUND)


def test_over_the_bound_the_oldest_finished_streams_go_first(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await log.stream("open", events=1)
        await log.stream("second", events=3, finish=True)
        await log.stream("third", events=3, finish=True)
        await log.stream("fourth", events=3, finish=True)
        await log.write(event("open", 2, b"x" * 100))
        names = ("open", "second", "third", "fourth")
        kept = {"open": [1, 2], "third": [1, 2, 3], "fourth": [1, 2, 3]}
        assert await log.there(*names) == kept
        assert await log.bytes() == 800
        await log.write(event("open", 3, b"x" * 600))
        assert await log.there(*names) == {"open": [1, 2, 3]}
        assert await log.bytes() == 800

    run(backend, scenario, max_log_bytes=BOUND)


def test_then_the_oldest_events_of_the_stream_that_is_written_to_go(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await log.stream("old", events=2, finish=True)
        await log.stream("open", events=4)
        await log.stream("s", events=8)
        assert await log.there("old", "open", "s") == {
            "open": [1, 2, 3, 4],
            "s": [3, 4, 5, 6, 7, 8],
        }
        there = await store.sessions.get_stream(A, "s")
        assert there is not None
        assert (there.first_sequence, there.last_sequence) == (3, 8)
        assert await log.bytes() == BOUND

    run(backend, scenario, max_log_bytes=BOUND)


def test_the_newest_event_stays_however_large_it_is(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await log.stream("s", events=3)
        await log.write(event("s", 4, b"x" * 5000))
        assert await log.there("s") == {"s": [4]}
        await log.write(event("s", 5, b"x"))
        assert await log.there("s") == {"s": [5]}
        assert await log.bytes() == 1

    run(backend, scenario, max_log_bytes=BOUND)


def test_the_end_of_an_answer_is_not_dropped_by_its_own_commit(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await log.stream("oldest")
        await log.stream("s", events=5, finish=True)
        await log.write(event("oldest", 1, b"x" * 900, last=True))
        assert await log.there("oldest", "s") == {"oldest": [1]}

    run(backend, scenario, max_log_bytes=BOUND)


def test_what_one_commit_adds_is_bounded_too(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await log.stream("s")
        await log.write(*(event("s", each, b"x" * 100) for each in range(1, 31)))
        assert await log.there("s") == {"s": list(range(21, 31))}

    run(backend, scenario, max_log_bytes=BOUND)


def test_what_was_dropped_of_a_stream_is_not_counted_again_when_it_goes(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await log.stream("s", events=15, finish=True)
        await log.stream("t", events=10)
        assert await log.there("s", "t") == {"t": list(range(1, 11))}
        assert await log.bytes() == BOUND

    run(backend, scenario, max_log_bytes=BOUND)


def test_each_session_has_a_bound_of_its_own(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        logs = [Log(store, await create(store, each)) for each in ("a", "b")]
        for log in logs:
            await log.stream("s", events=8, finish=True)
        for log in logs:
            assert await log.there("s") == {"s": list(range(1, 9))}
            assert await log.bytes() == 800

    run(backend, scenario, max_log_bytes=BOUND)


def test_so_many_finished_streams_are_kept(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await log.stream("open", events=1)
        names = [str(each) for each in range(MAX_FINISHED_STREAMS + 3)]
        for name in names:
            await log.stream(name, events=1, finish=True)
        kept = await log.there("open", *names)
        assert list(kept) == ["open", *names[3:]]
        assert await log.bytes() == 100 * (MAX_FINISHED_STREAMS + 1)

    run(backend, scenario)


def test_a_stream_that_was_dropped_may_be_opened_again(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await log.stream("s", events=5, finish=True)
        await log.stream("t", events=6, finish=True)
        assert await log.there("s", "t") == {"t": [1, 2, 3, 4, 5, 6]}
        await log.stream("s", events=1)
        assert await log.there("s", "t") == {"s": [1], "t": [1, 2, 3, 4, 5, 6]}

    run(backend, scenario, max_log_bytes=BOUND)


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


def test_storage_has_no_part_in_the_bound_of_events(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await store.sessions.commit(log.ownership, Changes(storage={"x": b"x" * 2 * BOUND}))
        await log.stream("s", events=10)
        assert await log.there("s") == {"s": list(range(1, 11))}
        assert await log.bytes() == 3 * BOUND

    run(backend, scenario, max_log_bytes=BOUND)
