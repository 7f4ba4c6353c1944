"""What a cluster adds to the store in Redis: slots, nodes that are away, and slots that move."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from redis.crc import key_slot
from tests.stores.redis_backends import RedisBackend, run
from tests.stores.scenarios import CONTENT, create, seen, until
from tests.support.valkey import ValkeyServer, running_cluster

from linkspan_session.errors import StoreUnavailableError
from linkspan_session.store import Changes, Ownership, Principal, SessionId
from linkspan_session.store import redis_keys as keys
from linkspan_session.store.redis import RedisStore

AWKWARD = ("a", "{", "}", "{}", "{a}", "a{b}c", "}{", "{{a}}", "{a}{b}", "!~" * 64)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisBackend]:
    """A cluster of a test's own, as it is left in pieces."""
    with running_cluster(tmp_path) as nodes:
        yield RedisBackend(nodes)


@pytest.mark.parametrize("name", AWKWARD)
def test_what_a_script_takes_together_is_in_one_slot(name: str) -> None:
    places = keys.principal_sessions_key(keys.principal_digest(Principal(name)))
    groups = (
        keys.session_keys(SessionId(name)),
        keys.principal_task_keys(Principal(name, name, name)),
        [places, keys.suspects_mark_key(places)],
        [keys.NODE_LEASES, keys.NODE_LOADS],
    )
    for group in groups:
        assert len({key_slot(key.encode()) for key in group}) == 1


def test_sessions_are_spread_over_the_slots() -> None:
    slots = {key_slot(keys.session_keys(SessionId(str(each)))[0].encode()) for each in range(1000)}
    assert len(slots) > 900


def test_a_node_that_is_away_takes_its_sessions_with_it_and_no_others(
    cluster: RedisBackend,
) -> None:
    async def scenario(store: RedisStore) -> None:
        owned = [await create(store, str(each)) for each in range(12)]
        gone = cluster.nodes[1]
        # Else the others serve nothing either, once they have noticed.
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        gone.kill()
        assert {await answers(store, each) for each in owned if on(cluster, each) is gone} == {
            False
        }
        assert {await answers(store, each) for each in owned if on(cluster, each) is not gone} == {
            True
        }
        gone.start()
        for each in owned:
            await until(partial(answers, store, each), "the node")

    run(cluster.url, scenario)


def test_a_hung_node_does_not_hide_the_others_from_who_comes_new(cluster: RedisBackend) -> None:
    async def scenario(store: RedisStore) -> None:
        owned = [await create(store, str(each)) for each in range(12)]
        hung = cluster.nodes[0]  # the first that is asked who holds what
        for node in cluster.nodes:
            node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        hung.hang()
        other = RedisStore.connect(cluster.url, max_log_bytes=1)
        try:
            served = [each for each in owned if on(cluster, each) is not hung]
            assert [await answers(other, each) for each in served] == [True] * len(served)
        finally:
            hung.go_on()
            await other.close()

    run(cluster.url, scenario)


def test_a_slot_that_moves_is_followed(cluster: RedisBackend) -> None:
    async def scenario(store: RedisStore) -> None:
        ownership = await create(store)
        await store.sessions.commit(ownership, CONTENT)
        places = keys.session_keys(ownership.session_id)
        slot = key_slot(places[0].encode())
        source = cluster.node_of(places[0])
        target = next(each for each in cluster.nodes if each is not source)
        source_id, target_id = source.ask("CLUSTER", "MYID"), target.ask("CLUSTER", "MYID")
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        there = source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100)
        moving = ("MIGRATE", "127.0.0.1", target.port, "", 0, 1000, "KEYS")
        assert places[0].encode() in there
        source.ask(*moving, *there)
        # The one asks us to ask the other, which answers for keys that it has.
        session_id = ownership.session_id
        assert await store.sessions.stored_bytes((session_id,)) == {session_id: 8}
        assert not await answers(store, ownership)
        for node in (target, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        # The one sends us to the other for good.
        assert await store.sessions.commit(ownership, Changes(storage={"x": b"y"})) == 3
        assert (await seen(store)).version == 3

    run(cluster.url, scenario)


def on(cluster: RedisBackend, ownership: Ownership) -> ValkeyServer:
    return cluster.node_of(keys.session_keys(ownership.session_id)[0])


async def answers(store: RedisStore, ownership: Ownership) -> bool:
    """Tell whether the node of a session serves it."""
    try:
        await store.sessions.commit(ownership, Changes())
    except StoreUnavailableError:
        return False
    return True
