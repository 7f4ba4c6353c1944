"""Which session servers there are, and whom a key prefers: the same for all who know the same ones."""

import asyncio
import gc
import socket
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final, TypeAlias

import pytest

from linkspan_worker import members as members_module
from linkspan_worker.members import Members

KEYS: Final = [f"session-{number}" for number in range(500)]
ADDRESSES: Final = [f"10.0.0.{number}:50051" for number in range(1, 6)]

Found: TypeAlias = list[tuple[Any, ...]]


def listed(addresses: list[str]) -> Members:
    return Members("ipv4:" + ",".join(addresses))


def test_the_same_servers_in_any_order_are_preferred_in_the_same_order() -> None:
    one, other = listed(ADDRESSES), listed(ADDRESSES[::-1])
    for key in KEYS:
        assert one.preferred(key) == other.preferred(key)
        assert sorted(one.preferred(key)) == ADDRESSES


def test_keys_are_spread_over_all_servers() -> None:
    members = listed(ADDRESSES)
    firsts = Counter(members.preferred(key)[0] for key in KEYS)
    assert set(firsts) == set(ADDRESSES)
    fair = len(KEYS) / len(ADDRESSES)
    assert all(fair / 2 < count < fair * 2 for count in firsts.values())


def test_a_server_that_leaves_moves_no_keys_but_its_own_and_those_to_their_second_choice() -> None:
    leaving = ADDRESSES[2]
    before, after = listed(ADDRESSES), listed([each for each in ADDRESSES if each != leaving])
    for key in KEYS:
        others = [each for each in before.preferred(key) if each != leaving]
        assert after.preferred(key) == others


def test_without_a_key_each_server_comes_first_at_times() -> None:
    members = listed(ADDRESSES)
    preferences = [members.preferred("") for _ in range(200)]
    assert {each[0] for each in preferences} == set(ADDRESSES)
    assert all(sorted(each) == ADDRESSES for each in preferences)


@pytest.mark.parametrize("key", ["", "a key"])
@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("ipv4:10.0.0.1:50051", "10.0.0.1:50051"),
        ("ipv6:[::1]:50051", "[::1]:50051"),
        ("unix:/run/linkspan/session.sock", "unix:/run/linkspan/session.sock"),
        ("unix:///run/a,b.sock", "unix:///run/a,b.sock"),
        ("unix-abstract:linkspan", "unix-abstract:linkspan"),
    ],
)
def test_one_server_is_all_there_is(target: str, address: str, key: str) -> None:
    assert list(Members(target).preferred(key)) == [address]


def test_a_list_of_ipv6_addresses_is_taken_apart() -> None:
    assert sorted(Members("ipv6:[::1]:1,[fd00::2]:2").preferred("a key")) == [
        "[::1]:1",
        "[fd00::2]:2",
    ]


# --- names ---------------------------------------------------------------------------------------


async def looked_up(members: Members, key: str = "a key") -> list[str]:
    """Have what is due looked up, which takes no time here, and return the servers then."""
    members.preferred(key)
    for _ in range(3):
        await asyncio.sleep(0)
    return list(members.preferred(key))


class Resolver:
    """Stands in for the resolver of the machine, which no test can tell what to find."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int, **_: Any) -> Found:
        self.asked.append((host, port))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET, kind, 6, "", (address, port)) for address in answer]


def with_resolver(
    scene: Coroutine[Any, Any, None], resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def within() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", resolver)
        loop.set_exception_handler(lambda _, context: broken.append(context))
        await scene
        gc.collect()  # a task that nobody waits for tells of its failure when it goes

    broken: list[Any] = []
    asyncio.run(within())
    assert broken == []


def test_a_name_is_looked_up_when_it_is_first_asked_for_and_nobody_waits_for_that() -> None:
    async def scene() -> None:
        members = Members("localhost:50051")
        assert list(members.preferred("a key")) == []
        async with asyncio.timeout(30):
            while not (found := members.preferred("a key")):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)
        assert found
        assert set(found) <= {"127.0.0.1:50051", "[::1]:50051"}
        members.close()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ("sessions:50051", ("sessions", 50051)),
        ("[::1]:50051", ("::1", 50051)),
        ("dns:///sessions.default.svc:50051", ("sessions.default.svc", 50051)),
        ("dns://10.0.0.53/sessions:50051", ("sessions", 50051)),
        ("dns:sessions:50051", ("sessions", 50051)),
        ("dns:[::1]:50051", ("::1", 50051)),
    ],
)
def test_the_name_in_a_target_is_what_is_looked_up(
    target: str, asked: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(["10.0.0.1"])

    async def scene() -> None:
        assert await looked_up(Members(target)) == ["10.0.0.1:50051"]

    with_resolver(scene(), resolver, monkeypatch)
    assert resolver.asked == [asked]


def test_an_address_that_is_found_twice_is_one_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        found = await looked_up(Members("sessions:1"), key="")
        assert sorted(found) == ["10.0.0.1:1", "10.0.0.2:1"]

    with_resolver(scene(), Resolver(["10.0.0.2", "10.0.0.1", "10.0.0.2"]), monkeypatch)


def test_a_name_is_not_looked_up_more_often_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(["10.0.0.1"])

    async def scene() -> None:
        members = Members("sessions:1")
        members.preferred("a key")
        members.preferred("a key")  # while the first look-up is under way
        for _ in range(3):
            assert await looked_up(members) == ["10.0.0.1:1"]

    with_resolver(scene(), resolver, monkeypatch)
    assert len(resolver.asked) == 1


def test_servers_that_come_and_go_are_found_by_the_next_look_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(members_module, "LOOK_UP_SECONDS", 0.0)

    resolver = Resolver(["10.0.0.2"], ["10.0.0.1"], ["10.0.0.3"])

    async def scene() -> None:
        members = Members("sessions:1")
        for expected in ("10.0.0.2:1", "10.0.0.1:1", "10.0.0.3:1"):
            members.preferred("a key")
            await asyncio.sleep(0)
            assert list(members.preferred("a key")) == [expected]
        members.close()

    with_resolver(scene(), resolver, monkeypatch)


@pytest.mark.parametrize(
    "failure",
    [
        socket.gaierror(socket.EAI_NONAME, "not known"),
        TimeoutError(),
        UnicodeError("label empty or too long"),
    ],
)
def test_a_look_up_that_fails_leaves_the_servers_that_are_known(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(["10.0.0.1"], failure, ["10.0.0.2"])
    monkeypatch.setattr(members_module, "LOOK_UP_SECONDS", 0.0)

    async def scene() -> None:
        members = Members("sessions:1")
        found: list[list[str]] = []
        while len(resolver.asked) < 4:
            found.append(list(members.preferred("a key")))
            await asyncio.sleep(0)
        assert found == [[], ["10.0.0.1:1"], ["10.0.0.1:1"], ["10.0.0.2:1"]]
        members.close()

    with_resolver(scene(), resolver, monkeypatch)


def test_closing_ends_a_look_up_that_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def forever(*_: Any, **__: Any) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", forever)
        members = Members("sessions:1")
        members.preferred("a key")
        await begun.wait()
        members.close()
        async with asyncio.timeout(30):
            await ended.wait()

    asyncio.run(scene())
