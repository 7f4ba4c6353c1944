"""Session ids that are guessed or chosen, and event ids that are none of one's own.

What one principal can do with the session of another is in `tests/auth/test_owners.py`; what becomes of
event ids within one's own session, in `tests/integration/test_resumption.py`.
"""

import asyncio
import base64
import math
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.requirements import requirement
from tests.support.hostile import check_told, read_responses, sent_raw, unharmed
from tests.support.mcp_http import call, http_session
from tests.support.peer import INITIALIZE, Answer, Peer, peer_of, request, session_at
from tests.support.session_calls import service_at, session_ids
from tests.support.stack import Stack

GUESSES = 300


@pytest.fixture
def guesser(stack: Stack) -> Iterator[Peer]:
    with peer_of(stack.mcp) as peer:
        yield peer


def guesses(real: str) -> Iterator[str]:
    """Guess: what is near a real id, what looks like one, and what others use."""
    yield from (real[:-1], real + "A", real.swapcase(), real[::-1], real[1:] + real[0])
    yield from (f"{real[:index]}{other}{real[index + 1 :]}" for index in (0, 31) for other in "AB_")
    yield from ("1", "a" * 128, "00000000-0000-0000-0000-000000000000", "null", "../" + real, "*")
    yield from ("%", "' OR 1=1 --", real + "~", real + "*", "a b", "a" * 129, "a" * 5000, "\xe4")
    while True:
        yield secrets.token_urlsafe(24)


def shape(answer: Answer) -> tuple[object, ...]:
    """Return all that an answer tells, but when it was made and in which trace."""
    told = {
        name: value
        for name, value in answer.headers.items()
        if name not in ("date", "traceresponse")
    }
    return answer.status, str(answer.messages), tuple(sorted(told.items()))


@requirement("attacks.guessing")
def test_guesses_get_one_answer_whatever_they_are_like(stack: Stack, guesser: Peer) -> None:
    answers: Counter[tuple[object, ...]] = Counter()
    with unharmed(stack), session_at(stack.mcp) as owner:
        assert owner.session_id is not None
        seen: set[str] = set()
        for guess in guesses(owner.session_id):
            if guess in seen or guess == owner.session_id:
                continue
            seen.add(guess)
            guesser.session_id = guess
            answers[shape(guesser.post(request("ping", id=7)))] += 1
            if len(seen) == GUESSES:
                break
        assert owner.ask("ping").status == 200
    ((told, count),) = answers.items()
    assert count == GUESSES
    assert told[0] == 404
    assert "Session not found" in str(told[1])


@requirement("attacks.guessing")
@pytest.mark.parametrize("verb", ["GET", "DELETE"])
def test_a_guess_does_nothing_by_any_verb(stack: Stack, guesser: Peer, verb: str) -> None:
    with session_at(stack.mcp) as owner:
        assert owner.session_id is not None
        guesser.session_id = owner.session_id[:-1]
        near = shape(guesser.send(verb))
        guesser.session_id = secrets.token_urlsafe(24)
        assert shape(guesser.send(verb)) == near
        assert near[0] == 404
        assert owner.ask("ping").status == 200


@requirement("attacks.guessing")
def test_ids_of_sessions_are_192_random_bits(stack: Stack) -> None:
    ids: list[str] = []
    with ExitStack() as opened:
        for _ in range(40):
            peer = opened.enter_context(session_at(stack.mcp))
            assert peer.session_id is not None
            ids.append(peer.session_id)
    raw = [base64.urlsafe_b64decode(each) for each in ids]
    assert {len(each) for each in raw} == {24}
    assert len(set(raw)) == len(raw)
    ones = sum(int.from_bytes(each).bit_count() for each in raw)
    bits = 192 * len(raw)
    # Of fair bits, one run in 10^9 is over six standard deviations off.
    assert abs(ones - bits / 2) < 6 * math.sqrt(bits) / 2
    for position in range(24):  # no place is a clock or a counter
        assert len({each[position] for each in raw}) > 20


@requirement("attacks.guessing")
@pytest.mark.parametrize("how", ["before", "after", "other case"])
def test_two_ids_in_one_request_are_refused(stack: Stack, how: str) -> None:
    with session_at(stack.mcp) as owner:
        real = f"mcp-session-id: {owner.session_id}\r\n"
        other = "mcp-session-id: other\r\n"
        lines = {
            "before": other + real,
            "after": real + other,
            "other case": real + other.replace("mcp", "MCP"),
        }[how]
        head = f"DELETE /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{lines}\r\n"
        (response,) = read_responses(sent_raw(stack.mcp, [head.encode()]))
        check_told(response)
        assert response.status == 400
        assert owner.ask("ping").status == 200


@requirement("auth.fixation")
@pytest.mark.parametrize("chosen", ["chosen", "A" * 32, "a" * 128])
def test_an_id_that_a_client_chose_is_never_a_sessions(stack: Stack, chosen: str) -> None:
    async def ids() -> list[str]:
        async with service_at(stack.grpc) as service:
            return await session_ids(service)

    opening = request("initialize", INITIALIZE)
    with peer_of(stack.mcp, session_id=chosen) as peer:
        answer = peer.post(opening)
        assert answer.status == 404
        assert "mcp-session-id" not in answer.headers
        assert peer.post(request("ping")).status == 404
        peer.session_id = None
        in_body = {**INITIALIZE, "sessionId": chosen, "_meta": {"mcp-session-id": chosen}}
        minted = peer.post(request("initialize", in_body)).headers["mcp-session-id"]
    known = asyncio.run(ids())
    assert minted in known
    assert chosen not in known


@requirement("attacks.event-ids")
def test_an_event_id_of_another_session_opens_nothing_and_tells_nothing(stack: Stack) -> None:
    counting = call("count", {"to": 3, "every_seconds": 0.01})
    with http_session(stack.mcp) as mine, http_session(stack.mcp) as other:
        with other.stream(counting) as events:
            theirs = [event.id for event in events if event.id]
        with mine.stream(counting) as events:
            own = [event.id for event in events if event.id]
        stream, _, number = theirs[0].rpartition(".")
        own_stream = own[0].rpartition(".")[0]
        tried = [
            *theirs,
            f"{stream}.{int(number) + 100}",
            f"{own_stream}.{10**9}",
            f"{own_stream}.-1",
            f"{own_stream}.{theirs[0]}",
            f"{other.session_id}.{theirs[0]}"[:64],
            "x" * 64,
            "x" * 65,
        ]
        told: set[tuple[int, str]] = set()
        for event_id in tried:
            headers = {**mine.headers, "last-event-id": event_id}
            response = mine.http.get(mine.address, headers=headers)
            told.add((response.status_code, response.text))
        assert len(told) == 1, told
        ((status, _),) = told
        assert status == 400
        with mine.listen(own[0]) as events:  # and the session is as it was
            assert len([event for event in events if event.data]) == len(own) - 1
