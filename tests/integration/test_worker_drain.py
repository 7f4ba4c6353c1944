"""A worker that is told to stop: what runs is answered or told why not, and streams end cleanly."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.requirements import requirement
from tests.support.apps import APPS, PROBE
from tests.support.mcp_http import HttpSession, JsonObject, call, http_session
from tests.support.stack import running_stack
from tests.support.waiting import PATIENCE_SECONDS, wait_until

DRAIN = ("--drain-timeout", "0.5")
SILENT = ("--open-stream-after", "60")
WORKING = str(APPS / "fault_counting.py") + ":mcp"


def probing(method: str, **params: str) -> JsonObject:
    return {"jsonrpc": "2.0", "id": 1, "method": f"probe/{method}", "params": params}


def wait_started(session: HttpSession, name: str) -> None:
    """Wait until a call of `probe/hold` runs."""
    assert session.post(probing("seen", name=name, mark="started")).json()["result"] == {}


@requirement("worker.drain")
def test_a_call_that_a_drain_does_not_wait_for_is_told_so(tmp_path: Path) -> None:
    with (
        running_stack(
            tmp_path, app=PROBE, worker_arguments=DRAIN, session_arguments=SILENT
        ) as stack,
        http_session(stack.mcp) as session,
        session.listen() as listening,
        ThreadPoolExecutor(1) as threads,
    ):
        next(listening)
        answering = threads.submit(session.post, probing("hold", name="slow"))
        wait_started(session, "slow")
        stack.worker.signal(signal.SIGTERM)
        assert list(listening) == []
        answer = answering.result(PATIENCE_SECONDS)
        assert stack.worker.wait() == 0
        assert not [line for line in stack.worker.errors if "Traceback" in line]
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, -32000)
    assert "retry-after" not in answer.headers


@requirement("worker.drain")
def test_a_stream_that_a_drain_does_not_wait_for_is_resumed_elsewhere(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    with (
        running_stack(
            tmp_path / "a", app=WORKING, worker_arguments=DRAIN, env={"FAULT_FOLDER": str(marks)}
        ) as stack,
        http_session(stack.mcp) as session,
    ):
        with session.stream(call("work", {"name": "held", "steps": 5})) as events:
            seen = [next(events)]
            stack.worker.signal(signal.SIGTERM)
            seen += list(events)
        assert stack.worker.wait() == 0
        (marks / "held.go").touch()
        with stack.another_worker() as address:
            session.address = address
            with session.listen(seen[-1].id) as events:
                rest = list(events)
    said = [event.json["params"]["progress"] for event in seen + rest if '"params"' in event.data]
    assert said == list(range(1, 6))
    assert '"result"' in rest[-1].data


@requirement("worker.drain")
def test_a_call_that_ends_in_time_is_answered(tmp_path: Path) -> None:
    with (
        running_stack(tmp_path, app=PROBE, session_arguments=SILENT) as stack,
        http_session(stack.mcp) as session,
        stack.another_worker() as elsewhere,
        ThreadPoolExecutor(1) as threads,
    ):
        answering = threads.submit(session.post, probing("hold", name="short"))
        wait_started(session, "short")
        stack.worker.signal(signal.SIGTERM)
        wait_until(
            lambda: any("shutting down" in line for line in stack.worker.errors), "it to be told"
        )
        session.address = elsewhere
        assert session.post(probing("release", name="short")).status_code == 200
        assert answering.result(PATIENCE_SECONDS).json()["result"] == {"held": "short"}
        assert stack.worker.wait() == 0
