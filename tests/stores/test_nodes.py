"""What every store promises of leases: held for a time, seen by all, over when that time is over."""

from tests.stores.backends import Backend
from tests.stores.scenarios import HERE, THERE, run, run_twice, until

from linkspan_session.store import NodeId, NodeLoad, Store


def test_who_holds_a_lease_is_alive_and_who_gave_it_up_is_not(backend: Backend) -> None:
    async def scenario(one: Store, other: Store) -> None:
        for store in (one, other):
            assert not await store.nodes.is_alive(HERE)
        await one.nodes.hold(HERE, lease_seconds=60, live_sessions=3)
        for store in (one, other):
            assert await store.nodes.is_alive(HERE)
            assert not await store.nodes.is_alive(THERE)
            assert not await store.nodes.is_alive(NodeId("127.0.0.1:4001#"))
        await other.nodes.leave(HERE)
        for store in (one, other):
            assert not await store.nodes.is_alive(HERE)

    run_twice(backend, scenario)


def test_a_lease_that_nobody_holds_can_be_given_up(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await store.nodes.hold(THERE, lease_seconds=60, live_sessions=0)
        await store.nodes.leave(HERE)
        await store.nodes.leave(HERE)
        assert await store.nodes.is_alive(THERE)

    run(backend, scenario)


def test_who_holds_a_lease_is_told_of_all_that_are_alive(backend: Backend) -> None:
    async def scenario(one: Store, other: Store) -> None:
        alone = await one.nodes.hold(HERE, lease_seconds=60, live_sessions=3)
        assert alone == (NodeLoad(HERE, 3),)
        both = await other.nodes.hold(THERE, lease_seconds=60, live_sessions=0)
        assert set(both) == {NodeLoad(HERE, 3), NodeLoad(THERE, 0)}
        both = await one.nodes.hold(HERE, lease_seconds=60, live_sessions=7)
        assert set(both) == {NodeLoad(HERE, 7), NodeLoad(THERE, 0)}
        await other.nodes.leave(THERE)
        alone = await one.nodes.hold(HERE, lease_seconds=60, live_sessions=8)
        assert alone == (NodeLoad(HERE, 8),)

    run_twice(backend, scenario)


def test_a_lease_ends_by_itself_and_can_be_held_again(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await store.nodes.hold(HERE, lease_seconds=60, live_sessions=0)
        await store.nodes.hold(HERE, lease_seconds=0.01, live_sessions=0)  # counts from now

        async def over() -> bool:
            return not await store.nodes.is_alive(HERE)

        await until(over, "the end of the lease")
        others = await store.nodes.hold(THERE, lease_seconds=60, live_sessions=1)
        assert others == (NodeLoad(THERE, 1),)
        both = await store.nodes.hold(HERE, lease_seconds=60, live_sessions=2)
        assert set(both) == {NodeLoad(HERE, 2), NodeLoad(THERE, 1)}
        assert await store.nodes.is_alive(HERE)

    run(backend, scenario)


def test_a_lease_that_is_renewed_goes_on(backend: Backend) -> None:
    async def scenario(store: Store) -> None:
        await store.nodes.hold(HERE, lease_seconds=0.2, live_sessions=0)
        await store.nodes.hold(HERE, lease_seconds=60, live_sessions=0)
        await store.nodes.hold(THERE, lease_seconds=0.3, live_sessions=0)

        async def over() -> bool:
            return not await store.nodes.is_alive(THERE)

        await until(over, "the end of a lease that began later")
        assert await store.nodes.is_alive(HERE)

    run(backend, scenario)


def test_a_lease_outlives_the_store_it_was_held_through(backend: Backend) -> None:
    async def before(store: Store) -> None:
        await store.nodes.hold(HERE, lease_seconds=60, live_sessions=0)

    async def after(store: Store) -> None:
        assert await store.nodes.is_alive(HERE)

    run(backend, before)
    run(backend, after)
