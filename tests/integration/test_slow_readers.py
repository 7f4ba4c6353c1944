"""Readers that do not keep up: bounded in bytes, cut off with a reason, harmless to others."""

import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from tests.requirements import requirement
from tests.support.mcp_http import HttpSession, call, http_session
from tests.support.processes import REPOSITORY
from tests.support.stack import Stack, running_stack
from tests.support.waiting import wait_until

FLOOD = str(REPOSITORY / "tests" / "apps" / "flood.py") + ":mcp"


@pytest.fixture(scope="module")
def flooding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    arguments = ("--max-backlog", "256k", "--stall-timeout", "1", "--max-event-log", "1M")
    data = tmp_path_factory.mktemp("data")
    with running_stack(data, app=FLOOD, session_arguments=arguments) as stack:
        yield stack


@contextmanager
def endless_reader(session: HttpSession, chunks: int) -> Generator[socket.socket]:
    """Post a call that floods, and read nothing of its answer."""
    address = urlsplit(session.address)
    body = session.http.build_request("POST", "http://x", json=call("flood", {"chunks": chunks}))
    content = body.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in session.headers.items())
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(
            f"POST /mcp HTTP/1.1\r\nhost: {address.netloc}\r\n{head}"
            f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n".encode()
            + content
        )
        yield connection


def logged(stack: Stack, words: str) -> bool:
    return any(words in line for line in stack.session.errors)


@requirement("stream.cut-off")
def test_a_reader_that_takes_nothing_is_cut_off_and_others_are_served_meanwhile(
    flooding: Stack,
) -> None:
    with (
        http_session(flooding.mcp) as slow,
        http_session(flooding.mcp) as other,
        endless_reader(slow, chunks=2000),
    ):
        assert "pong" in other.post(call("ping_me")).text
        wait_until(lambda: logged(flooding, "cut off a reader: stalled"), "the log of it")
        assert "pong" in slow.post(call("ping_me")).text


@requirement("stream.neighbours")
def test_many_readers_that_take_nothing_cost_nobody_else_an_answer(flooding: Stack) -> None:
    with (
        http_session(flooding.mcp) as slow,
        http_session(flooding.mcp) as other,
        endless_reader(slow, chunks=2000),
        endless_reader(slow, chunks=2000),
        endless_reader(slow, chunks=2000),
    ):
        for _ in range(50):
            assert "pong" in other.post(call("ping_me")).text


@requirement("stream.cut-off")
def test_a_reader_that_was_cut_off_goes_on_behind_what_is_still_kept(flooding: Stack) -> None:
    with http_session(flooding.mcp) as session:
        with session.stream(call("flood", {"chunks": 8})) as events:
            seen = [next(events) for _ in range(2)]
        with session.listen(seen[-1].id) as events:
            rest = list(events)
    assert len(rest) == 1 + 7 + 1  # the priming event, what was missed, the result
    assert rest[-1].json["result"]["content"][0]["text"] == "done"


@requirement("stream.listen-timeout")
def test_a_listening_stream_ends_cleanly_after_its_time(probe: Stack) -> None:
    arguments = ("--listen-timeout", "2")  # in which the stream has to open, too
    with (
        probe.with_worker(*arguments) as stack,
        http_session(stack.mcp) as session,
        session.listen() as events,
    ):
        assert [event.data for event in events] == [""]
