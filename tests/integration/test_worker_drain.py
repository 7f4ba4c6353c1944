"""A worker that is told to stop: what runs is answered or told why not, and streams end cleanly."""

import signal
import threading
from pathlib import Path
from typing import Any

import httpx2
from tests.requirements import requirement
from tests.support.mcp_http import call, http_session
from tests.support.stack import running_stack

SLOW = call("sleep", {"seconds": 30})
DRAIN = ("--drain-timeout", "0.5")


@requirement("worker.drain")
def test_a_call_that_a_drain_does_not_wait_for_is_told_so(tmp_path: Path) -> None:
    answers: list[httpx2.Response] = []
    arguments = ("--open-stream-after", "60")
    with (
        running_stack(tmp_path, worker_arguments=DRAIN, session_arguments=arguments) as stack,
        http_session(stack.mcp) as session,
        session.listen() as listening,
    ):
        next(listening)
        thread = threading.Thread(target=lambda: answers.append(session.post(SLOW)))
        thread.start()
        # The call is on its way when another, sent after it, has been answered.
        assert session.post(call("add", {"a": 1, "b": 1})).status_code == 200
        stack.worker.signal(signal.SIGTERM)
        assert list(listening) == []
        thread.join(timeout=10)
        assert stack.worker.wait() == 0
        assert not [line for line in stack.worker.errors if "Traceback" in line]
    (answer,) = answers
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, -32000)
    assert "retry-after" not in answer.headers


@requirement("worker.drain")
def test_a_stream_that_a_drain_does_not_wait_for_is_resumed_elsewhere(tmp_path: Path) -> None:
    with (
        running_stack(tmp_path / "a", worker_arguments=DRAIN) as stack,
        http_session(stack.mcp) as session,
    ):
        with session.stream(call("count", {"to": 40, "every_seconds": 0.05})) as events:
            seen = [next(events)]
            stack.worker.signal(signal.SIGTERM)
            seen += list(events)
        assert stack.worker.wait() == 0
        with stack.another_worker() as address:
            session.address = address
            with session.listen(seen[-1].id) as events:
                rest = list(events)
    said = [event.json["params"]["progress"] for event in seen + rest if '"params"' in event.data]
    assert said == list(range(1, 41))
    assert '"result"' in rest[-1].data


@requirement("worker.drain")
def test_a_call_that_ends_in_time_is_answered(tmp_path: Path) -> None:
    answers: list[httpx2.Response] = []
    with running_stack(tmp_path) as stack, http_session(stack.mcp) as session:
        short = call("sleep", {"seconds": 0.8})
        thread = threading.Thread(target=lambda: answers.append(session.post(short)))
        thread.start()
        assert session.post(call("add", {"a": 1, "b": 1})).status_code == 200
        stack.worker.signal(signal.SIGTERM)
        thread.join(timeout=10)
        assert stack.worker.wait() == 0
    assert "Slept for 0.8 s." in answers[0].text
