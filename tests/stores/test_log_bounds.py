"""What every store promises of the bounds of a session's events: what goes first, and what stays."""

from tests.stores.backends import Backend
from tests.stores.scenarios import HERE, create, event, run, stream, writer

from linkspan_session.store import Changes, EventRecord, Ownership, SessionId, Store
from linkspan_session.store.base import MAX_FINISHED_STREAMS

A = SessionId("a")
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
                assert found.first_sequence == found.last_sequence - len(events) + 1
        return kept

    async def bytes(self) -> int:
        key = self.ownership.session_id
        return (await self.store.sessions.stored_bytes((key,)))[key]


async def claimed(store: Store, ownership: Ownership) -> Ownership:
    """Have the session change hands; returns what its new owner writes as."""
    record = await store.sessions.claim(ownership.session_id, HERE, seen_epoch=ownership.epoch)
    assert record is not None
    return writer(record)


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
        await log.write(event("open", 3, b"x" * 300))
        assert await log.there(*names) == {"open": [1, 2, 3], "fourth": [1, 2, 3]}
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


def test_a_stream_of_more_than_half_the_bound_gives_way_before_any_other(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await log.stream("listening", events=1)
        await log.stream("one", events=2, finish=True)
        await log.stream("two", events=2, finish=True)
        for number in range(2, 31):
            await log.write(event("listening", number, b"x" * 100))
        assert await log.there("listening", "one", "two") == {
            "listening": list(range(25, 31)),
            "one": [1, 2],
            "two": [1, 2],
        }
        assert await log.bytes() == BOUND
        await log.write(event("listening", 31, b"x" * 900))  # which cannot give way
        assert await log.there("listening", "one", "two") == {"listening": [31]}

    run(backend, scenario, max_log_bytes=BOUND)


def test_what_one_commit_writes_keeps_half_the_bound_before_finished_streams_go(
    backend: Backend,
) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await log.stream("one", events=3, finish=True)
        await log.stream("two", events=3, finish=True)
        await log.stream("s")
        await log.write(*(event("s", each, b"x" * 100) for each in range(1, 31)))
        assert await log.there("one", "two", "s") == {
            "two": [1, 2, 3],
            "s": list(range(26, 31)),
        }
        assert await log.bytes() == 800

    run(backend, scenario, max_log_bytes=BOUND)


def test_after_finished_streams_go_events_that_an_earlier_owner_left(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await log.stream("lost", events=2)
        await log.stream("lost too", events=2)
        await log.stream("done", events=2, finish=True)
        await log.stream("taken up", events=2)
        log.ownership = await claimed(store, log.ownership)
        await log.write(event("taken up", 3, b"x" * 100))
        await log.stream("s", events=3)
        names = ("lost", "lost too", "done", "taken up", "s")
        kept = {"lost": [1, 2], "lost too": [1, 2], "taken up": [1, 2, 3], "s": [1, 2, 3]}
        assert await log.there(*names) == kept
        await log.write(event("s", 4, b"x" * 100))
        kept |= {"lost": [], "s": [1, 2, 3, 4]}
        assert await log.there(*names) == kept
        await log.write(event("s", 5, b"x" * 100))
        await log.write(event("taken up", 4, b"x" * 100))
        kept |= {"lost too": [], "taken up": [1, 2, 3, 4], "s": [1, 2, 3, 4, 5]}
        assert await log.there(*names) == kept
        await log.write(event("taken up", 5, b"x" * 100))
        await log.write(event("s", 6, b"x" * 100))  # there is only what the owner writes to
        kept |= {"taken up": [1, 2, 3, 4, 5], "s": [2, 3, 4, 5, 6]}
        assert await log.there(*names) == kept
        assert await log.bytes() == BOUND

    run(backend, scenario, max_log_bytes=BOUND)


def test_a_stream_that_lost_its_events_to_others_can_be_gone_on_with(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await log.stream("listening", events=10)
        log.ownership = await claimed(store, log.ownership)
        await log.stream("s", events=1)
        assert await log.there("listening", "s") == {"listening": [], "s": [1]}
        await log.write(event("listening", 11, b"x" * 100))
        assert await log.there("listening", "s") == {"listening": [11], "s": [1]}
        there = await store.sessions.get_stream(A, "listening")
        assert there is not None
        assert (there.first_sequence, there.last_sequence) == (11, 11)
        assert await log.bytes() == 200

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
        await log.stream("s", events=6, finish=True)
        await log.stream("t", events=5, finish=True)
        assert await log.there("s", "t") == {"t": [1, 2, 3, 4, 5]}
        await log.stream("s", events=1)
        assert await log.there("s", "t") == {"s": [1], "t": [1, 2, 3, 4, 5]}

    run(backend, scenario, max_log_bytes=BOUND)


def test_storage_has_no_part_in_the_bound_of_events(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        log = Log(store, await create(store))
        await store.sessions.commit(log.ownership, Changes(storage={"x": b"x" * 2 * BOUND}))
        await log.stream("s", events=10)
        assert await log.there("s") == {"s": list(range(1, 11))}
        assert await log.bytes() == 3 * BOUND

    run(backend, scenario, max_log_bytes=BOUND)
