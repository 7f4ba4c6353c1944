"""A process that shares a SQLite file with the tests of `test_sqlite`; one line for each commit.

python -m tests.stores.sqlite_child commit FILE NAME COUNT    COUNT commits to a session of NAME
python -m tests.stores.sqlite_child full FILE                 on a disk that fills up and empties
"""

import asyncio
import resource
import sys
from pathlib import Path

from tests.stores.scenarios import CONTENT, create, event, everything, stream

from linkspan_session.errors import StoreUnavailableError
from linkspan_session.store import Changes, Ownership, Store
from linkspan_session.store.sqlite import SqliteStore

TOO_MUCH = b"x" * 1_000_000


async def commit(store: Store, name: str, count: int) -> None:
    """Write events to a session of its own, and say of each that it is on record."""
    ownership = await create(store, name)
    await store.sessions.commit(ownership, Changes(streams=(stream("s", name),)))
    for number in range(1, count + 1):
        message = f"{name} {number}".encode()
        storage = {"last": str(number).encode()}
        while True:
            try:
                await store.sessions.commit(
                    ownership, Changes(events=(event("s", number, message),), storage=storage)
                )
                break
            except StoreUnavailableError:
                print("busy", flush=True)
        print(number, flush=True)


async def full(store: Store, path: Path) -> None:
    """Have each kind of commit fail because files cannot grow, then work because they can."""
    ownership = await create(store, "a")
    await store.sessions.commit(ownership, CONTENT)
    before = await everything(store)
    wal = path.with_name(path.name + "-wal")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for spare in (0, 100, 5_000, 500_000):
        most = wal.stat().st_size + spare
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, unlimited[1]))
        for changes in (
            Changes(storage={"large": TOO_MUCH}),
            Changes(events=(event("s", 2, TOO_MUCH),)),
        ):
            for _ in range(3):
                await _fails(store, ownership, changes)
        assert await everything(store) == before  # reading goes on
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert await everything(store) == before
        # Small commits go on, and are all there is afterwards.
        await store.sessions.commit(ownership, Changes(storage={"small": str(spare).encode()}))
        before = await everything(store)
        other = await SqliteStore.open(path)
        assert await everything(other) == before
        await other.close()
    await store.sessions.commit(ownership, Changes(storage={"large": TOO_MUCH}))
    assert (await store.sessions.read_storage(ownership.session_id))["large"] == TOO_MUCH
    print("went on", flush=True)


async def _fails(store: Store, ownership: Ownership, changes: Changes) -> None:
    try:
        await store.sessions.commit(ownership, changes)
    except StoreUnavailableError:
        return
    raise AssertionError("there was room for it")


async def main(what: str, path: Path, *arguments: str) -> None:
    store = await SqliteStore.open(path)
    try:
        if what == "full":
            await full(store, path)
        else:
            await commit(store, arguments[0], int(arguments[1]))
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
