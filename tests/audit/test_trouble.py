"""The trail when things go wrong with it, or are moved under it, over real processes."""

import os
import resource
import signal
from pathlib import Path

import pytest
from tests.audit.trails import events_in, wait_for, wait_for_count
from tests.auth.guarded import running_guarded
from tests.requirements import requirement
from tests.support.otlp import SignalReceiver, attributes_of
from tests.support.peer import peer_of, session_at
from tests.support.processes import EVERYTHING, linkspan
from tests.support.stack import running_stack
from tests.support.waiting import wait_until

from linkspan_contract.session_digest import session_digest

NOT_ALLOWED = {"origin": "https://elsewhere.example"}


@requirement("audit.trouble")
@pytest.mark.parametrize("where", ["missing/trail", ".", "pipe", "link"])
def test_a_file_that_cannot_be_written_stops_the_start(tmp_path: Path, where: str) -> None:
    path = tmp_path / where
    if where == "pipe":
        os.mkfifo(path)
    if where == "link":
        path.symlink_to(tmp_path / "other")
    with linkspan("worker", "--port", "0", "--audit-file", str(path)) as worker:
        assert worker.wait() == 2
        (line,) = worker.errors
        assert line.startswith(f"linkspan worker: --audit-file {path} cannot be written: ")


@requirement("audit.trouble")
def test_what_goes_nowhere_stops_the_start(tmp_path: Path) -> None:
    words = ("session", "--app", EVERYTHING, "--port", "0", "--data", str(tmp_path))
    with linkspan(*words, "--audit-content") as session:
        assert session.wait() == 2
        assert "--audit-file or --audit-otlp" in session.errors[-1]
    with linkspan(*words, "--audit-otlp") as session:
        assert session.wait() == 2
        assert "OTEL_LOGS_EXPORTER=otlp" in session.errors[-1]


@requirement("audit.trouble")
def test_events_wait_for_a_disk_that_is_full_and_requests_do_not(tmp_path: Path) -> None:
    path = tmp_path / "trail"
    with (
        linkspan("worker", "--port", "0", "--audit-file", str(path)) as worker,
        peer_of(worker.wait_ready()["mcp"]) as peer,
    ):
        wait_for(path, "start")
        assert oct(path.stat().st_mode & 0o777) == "0o600"
        unlimited = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (path.stat().st_size + 100, -1))
        for _ in range(20):
            assert peer.send("GET", headers=NOT_ALLOWED).status == 403
        wait_until(lambda: "cannot be written" in "".join(worker.errors), "the log to say so")
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, unlimited)
        wait_until(lambda: "is written again; 0 events" in "".join(worker.errors), "the end")
        assert peer.send("GET", headers=NOT_ALLOWED).status == 403
        lines = path.read_text().splitlines()
        torn = [line for line in lines if not line.endswith("}")]
        assert len(torn) <= 1
        path.write_text("\n".join(line for line in lines if line not in torn) + "\n")
        told = wait_for_count(path, 21, lambda e: e["event"] == "linkspan.audit.refused")
        assert len(told) == 21
        assert worker.stop() == 0
        said = [line for line in worker.errors if "audit trail" in line]
        assert len(said) == 2


@requirement("audit.rotation")
def test_a_file_that_is_moved_away_is_made_anew_and_nothing_is_lost(tmp_path: Path) -> None:
    path, moved = tmp_path / "trail", tmp_path / "trail.1"
    with running_stack(tmp_path, session_arguments=("--audit-file", str(path))) as stack:
        with session_at(stack.mcp) as peer:
            for number in range(20):
                assert peer.call("add", a=number, b=1).status == 200
                if number == 9:
                    wait_for(path, "tool_call", request_id="10")
                    path.rename(moved)
            wait_for(path, "tool_call", request_id="20")
        path.rename(tmp_path / "trail.2")
        stack.session.signal(signal.SIGHUP)
        wait_until(path.exists, "a new file after SIGHUP, though nothing happens")
        assert stack.session.running
        assert stack.session.stop() == 0
    before, after = events_in(moved), events_in(tmp_path / "trail.2")
    ids = [e["request_id"] for e in (*before, *after) if e["event"].endswith("tool_call")]
    assert ids == [str(number) for number in range(1, 21)]
    assert [e for e in before if e.get("request_id") == "11"] == []
    assert events_in(path)[-1]["event"] == "linkspan.audit.stop"


@requirement("audit.rotation")
def test_processes_that_share_a_file_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    path = tmp_path / "trail"
    with running_stack(
        tmp_path,
        session_arguments=("--audit-file", str(path)),
        worker_arguments=("--audit-file", str(path)),
    ) as stack:
        with session_at(stack.mcp) as peer:
            for _ in range(30):
                assert peer.call("add", a=1, b=1).status == 200
                assert peer.send("GET", headers=NOT_ALLOWED).status == 403
        assert stack.worker.stop() == 0
        assert stack.session.stop() == 0
    services = [event["service"] for event in events_in(path)]
    assert services.count("linkspan-worker") == 32
    assert services.count("linkspan-session") >= 33


@requirement("audit.flood")
def test_refusals_beyond_what_the_trail_takes_are_counted_and_told(tmp_path: Path) -> None:
    path = tmp_path / "trail"
    with running_guarded(tmp_path, "--audit-file", str(path)) as guarded:
        with guarded.peer("no-token-at-all") as peer:
            for _ in range(1500):
                assert peer.send("GET").status == 401
        assert guarded.stack.worker.stop() == 0
    events = events_in(path)
    refused = sum(event["event"] == "linkspan.audit.refused" for event in events)
    left_out = [event for event in events if event["event"] == "linkspan.audit.lost"]
    assert all(event["reason"] == "too_many_refusals" for event in left_out)
    assert refused + sum(event["count"] for event in left_out) == 1500


@requirement("audit.otlp")
def test_the_same_events_go_over_otlp_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "trail"
    with (
        SignalReceiver() as receiver,
        running_stack(
            tmp_path,
            session_arguments=("--audit-otlp", "--audit-file", str(path)),
            env={"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http},
        ) as stack,
        session_at(stack.mcp) as peer,
    ):
        assert peer.session_id is not None
        assert peer.call("add", a=1, b=2).status == 200
        in_file = wait_for(path, "tool_call")

        def called(receiver: SignalReceiver) -> object:
            found = [e for e in receiver.logs() if e[2].event_name == "linkspan.audit.tool_call"]
            return found or None

        receiver.wait_for(called)
        ((resource_of, scope, record),) = [
            e for e in receiver.logs() if e[2].event_name == "linkspan.audit.tool_call"
        ]
        assert attributes_of(resource_of.attributes)["service.name"] == "linkspan-session"
        assert scope == "linkspan.audit"
        said = attributes_of(record.attributes)
        assert said == {
            "linkspan.audit.actor": "client",
            "mcp.session.id": session_digest(peer.session_id),
            "mcp.method.name": "tools/call",
            "gen_ai.tool.name": "add",
            "jsonrpc.request.id": "1",
            "linkspan.audit.outcome": "ok",
        }
        assert record.trace_id.hex() == in_file["trace_id"]
        assert record.span_id.hex() == in_file["span_id"]
