"""What each caller may do: who a caller is, what they are told, and that places are given back."""

import asyncio
import json

import pytest
from tests.unit.worker.collecting_wire import CollectingWire
from tests.unit.worker.scripted import ScriptedServer, serving, target_of

from linkspan_contract.envelope import Batch, Envelope, parse_message
from linkspan_worker.callers import CallerLimits, PlacesGivenBack
from linkspan_worker.client_networks import network_of
from linkspan_worker.endpoint import McpEndpoint
from linkspan_worker.entry import Door, Entry
from linkspan_worker.failures import Refusal
from linkspan_worker.forwarded import PassedOn
from linkspan_worker.headers import Headers
from linkspan_worker.http import HttpExchange
from linkspan_worker.rates import Rate
from linkspan_worker.session_client import Principal, SessionClient

TIMEOUT_SECONDS = 20.0
ALICE = Principal(issuer="https://issuer.example", subject="alice")
MALLORY = Principal(issuer="https://issuer.example", subject="mallory")


def coming(address: str | None = "192.0.2.1") -> HttpExchange:
    client = None if address is None else (address, 4711)
    return HttpExchange(CollectingWire(), client=client, server=None)


def limits(rate: Rate | None = None, max_in_flight: int | None = None) -> CallerLimits:
    return CallerLimits(rate=rate, max_in_flight=max_in_flight, clock=lambda: 1000.0)


def told(refusal: Refusal | None) -> tuple[int, str, dict[str, str]]:
    assert refusal is not None
    return refusal.status, refusal.error_type, dict(refusal.headers)


def test_a_request_too_many_is_refused_until_one_has_left() -> None:
    callers = limits(max_in_flight=2)
    first, second, third = coming(), coming(), coming()
    assert callers.enter(first, ALICE) is None
    assert callers.enter(second, ALICE) is None
    assert told(callers.enter(third, ALICE)) == (429, "caller_in_flight", {"retry-after": "1"})
    callers.leave(third)  # it had no place
    assert callers.enter(coming(), MALLORY) is None
    assert told(callers.enter(third, ALICE))[0] == 429
    callers.leave(first)
    callers.leave(first)
    assert callers.enter(third, ALICE) is None
    assert told(callers.enter(coming(), ALICE))[0] == 429


def test_a_client_that_has_its_answer_may_come_again_at_once() -> None:
    callers = limits(max_in_flight=1)
    first = coming()
    assert callers.enter(first, ALICE) is None
    first.respond(200, (), b"")
    assert callers.enter(coming(), ALICE) is None


def test_nothing_is_kept_of_those_who_have_left() -> None:
    callers = limits(max_in_flight=2)
    there = [coming() for _ in range(3)]
    for each in there:
        callers.enter(each, ALICE)
    assert len(callers) == 1
    for each in there:
        callers.leave(each)
    assert len(callers) == 0


def test_a_request_too_often_is_told_when_to_come_in_whole_seconds() -> None:
    callers = limits(rate=Rate(per_second=0.4, burst=1))
    assert callers.enter(coming(), ALICE) is None
    assert told(callers.enter(coming(), ALICE)) == (429, "caller_rate", {"retry-after": "3"})
    assert callers.enter(coming(), MALLORY) is None


def test_a_refused_request_costs_no_token_for_being_one_too_many() -> None:
    callers = limits(rate=Rate(per_second=1, burst=2), max_in_flight=1)
    first = coming()
    assert callers.enter(first, ALICE) is None
    assert told(callers.enter(coming(), ALICE))[1] == "caller_in_flight"
    callers.leave(first)
    assert callers.enter(first, ALICE) is None
    callers.leave(first)
    assert told(callers.enter(first, ALICE))[1] == "caller_rate"


def test_the_messages_of_a_batch_count_as_many() -> None:
    callers = limits(rate=Rate(per_second=1, burst=2))
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    batch, one = coming(), coming()
    assert callers.enter(one, ALICE) is None
    callers.count(one, parse_message(json.dumps(ping)))
    assert callers.enter(batch, ALICE) is None
    callers.count(batch, parse_message(json.dumps([ping] * 10)))
    assert told(callers.enter(coming(), ALICE))[2] == {"retry-after": "10"}


def test_without_a_door_an_address_is_a_caller_whatever_its_port() -> None:
    callers = limits(max_in_flight=1)
    assert callers.enter(coming("192.0.2.1"), None) is None
    assert callers.enter(coming("192.0.2.2"), None) is None
    assert told(callers.enter(coming("192.0.2.1"), None))[0] == 429
    assert callers.enter(coming(None), None) is None
    assert told(callers.enter(coming(None), None))[0] == 429


def test_behind_a_trusted_proxy_a_caller_is_whom_it_names() -> None:
    callers = limits(max_in_flight=1)
    first, second, again = coming(), coming(), coming()
    first.passed_on = again.passed_on = PassedOn(client=("198.51.100.1", 1))
    second.passed_on = PassedOn(client=("198.51.100.2", 1))
    assert callers.enter(first, None) is None
    assert callers.enter(second, None) is None
    assert told(callers.enter(again, None))[0] == 429


def test_with_a_door_it_does_not_matter_where_a_caller_comes_from() -> None:
    callers = limits(max_in_flight=1)
    assert callers.enter(coming("192.0.2.1"), ALICE) is None
    assert told(callers.enter(coming("192.0.2.2"), ALICE))[0] == 429


def test_issuer_and_subject_cannot_be_shifted_into_each_other() -> None:
    callers = limits(max_in_flight=1)
    assert callers.enter(coming(), Principal(issuer="ab", subject="c")) is None
    assert callers.enter(coming(), Principal(issuer="a", subject="bc")) is None


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::"),
        ("something else", "something else"),
    ],
)
def test_an_ipv6_client_is_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
def test_a_place_is_given_back_however_the_answer_ends(error: type[BaseException]) -> None:
    callers = limits(max_in_flight=1)

    async def application(exchange: HttpExchange) -> None:
        callers.enter(exchange, ALICE)
        raise error

    async def main() -> None:
        with pytest.raises(error):
            await PlacesGivenBack(application, callers)(coming())

    asyncio.run(main())
    assert len(callers) == 0


# --- the endpoint ----------------------------------------------------------------------------------


class AlicesDoor:
    """A door that takes everybody for Alice."""

    ask_again_seconds = 60.0

    async def enter(self, headers: Headers) -> Entry:  # noqa: ARG002
        """Let in."""
        return Entry(ALICE, {})

    def permit(self, entry: Entry, message: Envelope | Batch) -> Entry:  # noqa: ARG002
        """Let in."""
        return entry


PING = b'{"jsonrpc":"2.0","id":7,"method":"ping"}'
HEADERS = (
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
    (b"mcp-session-id", b"s"),
    (b"content-length", b"%d" % len(PING)),
)


async def ask_twice(server: ScriptedServer, door: Door | None) -> list[CollectingWire]:
    sessions = SessionClient(target_of(server), retry_for_seconds=0.2)
    endpoint = McpEndpoint(
        sessions,
        request_timeout_seconds=TIMEOUT_SECONDS,
        listen_timeout_seconds=TIMEOUT_SECONDS,
        comment_every_seconds=TIMEOUT_SECONDS,
        stall_seconds=TIMEOUT_SECONDS,
        routing_header="",
        loopback_only=False,
        allowed_origins=frozenset(),
        door=door,
        callers=limits(rate=Rate(per_second=0.1, burst=1)),
    )
    wires = [CollectingWire(), CollectingWire()]
    try:
        for wire in wires:
            await endpoint(wire.exchange(PING, HEADERS))
    finally:
        await sessions.close()
    return wires


@pytest.mark.parametrize("door", [AlicesDoor(), None], ids=["door", "no door"])
def test_whoever_comes_too_often_gets_429_under_the_id_of_the_request(door: Door | None) -> None:
    async def main() -> list[CollectingWire]:
        async with serving("A") as (server,):
            wires = await ask_twice(server, door)
            assert len(server.requests) == 1
            return wires

    first, second = asyncio.run(main())
    assert (first.status, second.status) == (200, 429)
    assert second.headers["retry-after"] == "10"
    answer = json.loads(second.body)
    assert (answer["id"], answer["error"]["code"]) == (7, -32600)
    assert "too often" in answer["error"]["message"]
