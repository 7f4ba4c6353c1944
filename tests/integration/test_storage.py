"""What a session stores, through real processes: concurrent calls, failing tools, and `kill -9`."""

import signal
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from tests.requirements import requirement
from tests.support.apps import APPS
from tests.support.peer import Answer, Peer, notification, peer_of, request, session_at
from tests.support.processes import REPOSITORY, linkspan
from tests.support.stack import Stack, running_stack
from tests.support.waiting import wait_until

COUNTING: Final = str(APPS / "counting.py") + ":mcp"
NOTES: Final = str(REPOSITORY / "examples" / "notes" / "server.py") + ":mcp"
REQUEST_CANCELLED: Final = -32800


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("counting"), app=COUNTING) as running:
        yield running


@pytest.fixture
def counter(counting: Stack) -> Iterator[Peer]:
    """A client in a session of its own."""
    with session_at(counting.mcp) as peer:
        yield peer


def stored(peer: Peer) -> Any:
    return peer.call("read").result["structuredContent"]


def call_at_once(
    address: str, session_id: str | None, tools: list[str], times: int
) -> list[Answer]:
    """Call tools in one session, all at the same time."""

    def call(tool: str) -> Answer:
        with peer_of(address, session_id=session_id) as each:
            return each.call(tool, times=times)

    with ThreadPoolExecutor(len(tools)) as threads:
        return list(threads.map(call, tools))


@contextmanager
def killed_and_restarted(stack: Stack, app: str) -> Generator[None]:
    """Kill the session server; run another on its port and its data until the block is left."""
    stack.session.signal(signal.SIGKILL)
    stack.session.wait()
    port = stack.grpc.rpartition(":")[2]
    with linkspan("session", "--app", app, "--port", port, "--data", str(stack.data)) as another:
        another.wait_ready()
        yield


def wait_until_served(peer: Peer) -> None:
    """Ask until the session is served again; until then it is 503."""

    def is_served() -> bool:
        status = peer.ask("ping").status
        assert status in {200, 503}
        return status == 200

    wait_until(is_served, "the session", seconds=40)


# --- answers --------------------------------------------------------------------------------------


@requirement("storage.atomic")
def test_what_one_call_writes_the_next_call_of_the_session_reads(
    counting: Stack, counter: Peer
) -> None:
    value = {"list": [1, 2.5, None, True], "text": "ü"}
    assert counter.call("put", key="a", value=value).status == 200
    assert stored(counter) == {"a": value}
    with session_at(counting.mcp) as stranger:
        assert stored(stranger) == {}


@requirement("storage.atomic")
@pytest.mark.parametrize("how", ["tool", "protocol", "bug"])
def test_a_tool_that_fails_leaves_nothing_but_its_transactions(counter: Peer, how: str) -> None:
    answer = counter.call("fail", how=how)
    assert "error" in answer.final or answer.result["isError"]
    assert stored(counter) == {f"fail {how}: transaction": f"fail {how}"}


def test_a_tool_that_is_cancelled_leaves_nothing_but_its_transactions(
    counting: Stack, counter: Peer
) -> None:
    message = request("tools/call", {"name": "hold", "arguments": {"name": "cancelled"}}, id="h")
    with (
        ThreadPoolExecutor(1) as threads,
        peer_of(counting.mcp, session_id=counter.session_id) as holder,
    ):
        answering = threads.submit(holder.post, message)
        counter.call("held", name="cancelled")
        counter.post(notification("notifications/cancelled", {"requestId": "h"}))
        assert answering.result(timeout=30).code == REQUEST_CANCELLED
    assert stored(counter) == {"cancelled: transaction": "cancelled"}


@requirement("storage.limits")
def test_a_value_that_is_too_large_is_the_tools_error_and_changes_nothing(counter: Peer) -> None:
    assert counter.call("put", key="k" * 513, value=1).result["isError"]
    assert counter.call("put", key="large", value="x" * 1024 * 1024).result["isError"]
    for key in "0123":  # each is its key, a byte, and its text between quotation marks
        assert not counter.call("put", key=key, value="x" * (1024 * 1024 - 4)).result["isError"]
    assert counter.call("put", key="4", value="").result["isError"]
    assert list(stored(counter)) == ["0", "1", "2", "3"]


# --- at once --------------------------------------------------------------------------------------


@requirement("storage.serialised")
def test_increments_at_once_lose_nothing(counting: Stack, counter: Peer) -> None:
    tools = ["increment", "increment", "increment_alone", "increment_alone"]
    answers = call_at_once(counting.mcp, counter.session_id, tools, times=25)
    assert [answer.status for answer in answers] == [200] * 4
    assert stored(counter) == {"count": 100}


def test_sessions_do_not_wait_for_each_other(counting: Stack, counter: Peer) -> None:
    with session_at(counting.mcp) as other:
        answers = [
            *call_at_once(counting.mcp, counter.session_id, ["increment"], times=3),
            *call_at_once(counting.mcp, other.session_id, ["increment"], times=4),
        ]
        assert [answer.status for answer in answers] == [200] * 2
        assert (stored(counter), stored(other)) == ({"count": 3}, {"count": 4})


# --- kill -9 --------------------------------------------------------------------------------------


@requirement("session.restart")
def test_a_note_is_there_after_kill_9_right_after_its_answer(tmp_path: Path) -> None:
    with running_stack(tmp_path, app=NOTES) as stack, session_at(stack.mcp) as peer:
        assert peer.call("add_note", text="milk").status == 200
        with killed_and_restarted(stack, NOTES):
            wait_until_served(peer)
            added = peer.call("add_note", text="bread").result["structuredContent"]
            assert added == {"notebook": "own", "notes": ["milk", "bread"]}


@requirement("storage.atomic")
def test_of_a_handler_that_kill_9_cut_short_only_its_transactions_are_there(tmp_path: Path) -> None:
    with (
        running_stack(tmp_path, app=COUNTING) as stack,
        session_at(stack.mcp) as peer,
        peer_of(stack.mcp, session_id=peer.session_id) as holder,
        ThreadPoolExecutor(1) as threads,
    ):
        peer.call("increment", times=2)
        answering = threads.submit(holder.call, "hold", name="cut short")
        peer.call("held", name="cut short")
        with killed_and_restarted(stack, COUNTING):
            wait_until_served(peer)
            cut_short = answering.result(timeout=40)
            assert cut_short.status != 200 or "error" in cut_short.final
            expected = {"count": 2, "cut short: transaction": "cut short"}
            assert stored(peer) == expected
            peer.call("increment", times=1)
            assert stored(peer) == {**expected, "count": 3}
