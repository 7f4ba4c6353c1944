"""The trail of callers who are over their limits, and of operators at an address of their own."""

from pathlib import Path

import pytest
from tests.audit.trails import events_in, wait_for, wait_for_count
from tests.auth.guarded import running_guarded
from tests.requirements import requirement
from tests.support.apps import PROBE
from tests.support.peer import peer_of, request, session_at
from tests.support.processes import linkspan
from tests.support.stack import Stack, running_stack

from linkspan_contract.session_digest import session_digest

OPENING = request(
    "initialize",
    {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
)
ADD = request("tools/call", {"name": "add", "arguments": {"a": 1, "b": 1}})


@requirement("audit.limits")
def test_a_caller_over_its_rate_is_told_with_who_it_is(tmp_path: Path) -> None:
    path, done = tmp_path / "worker", tmp_path / "session"
    limits = ("--rate", "1/h", "--rate-burst", "2", "--audit-file", str(path))
    with running_guarded(
        tmp_path, *limits, session_arguments=("--audit-file", str(done))
    ) as guarded:
        ana = guarded.token(subject="ana", client_id="desk", scope="sums")
        bob = guarded.token(subject="bob", scope="sums")
        with guarded.peer(ana) as peer:
            assert peer.initialize().status == 200  # two requests: its notification is one
            assert peer.post(ADD).status == 429
            assert peer.session_id is not None
            digest = session_digest(peer.session_id)
        with guarded.peer(bob) as peer:
            assert peer.ask_modern("tools/list").status == 200
        assert guarded.stack.worker.stop() == 0
        told = [e for e in events_in(path) if e["event"] == "linkspan.audit.refused"]
        assert {e["reason"] for e in told} == {"caller_rate"}
        expected = {
            "actor": "client",
            "issuer": guarded.issuer.name,
            "subject": "ana",
            "client_id": "desk",
            "client_address": "127.0.0.1",
            "session": digest,
            "method": "tools/call",
            "tool": "add",
            "outcome": "refused",
            "status": 429,
        }
        (called,) = [e for e in told if e["method"] == "tools/call"]
        assert expected.items() <= called.items()
        assert called["trace_id"]
        assert "add" not in {e.get("tool") for e in events_in(done)}


@requirement("audit.limits")
def test_a_caller_with_too_many_requests_at_once_is_told_by_its_address(
    probe: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "trail"
    limits = ("--max-in-flight-per-caller", "1", "--audit-file", str(path))
    with (
        probe.with_worker(*limits) as stack,
        session_at(stack.mcp) as listener,
        peer_of(stack.mcp) as peer,
        listener.listen(),
    ):
        assert peer.ask_modern("probe/say", {"text": "hi"}).status == 429
        told = wait_for(path, "refused", reason="caller_in_flight", status=429)
        assert (told["method"], told["client_address"]) == ("probe/say", "127.0.0.1")
        assert "subject" not in told


@requirement("audit.limits")
def test_a_principal_with_too_many_sessions_is_told_by_the_session_server(tmp_path: Path) -> None:
    path, worker = tmp_path / "trail", tmp_path / "worker"
    with running_stack(
        tmp_path,
        app=PROBE,
        session_arguments=("--max-sessions", "1", "--audit-file", str(path)),
        worker_arguments=("--audit-file", str(worker)),
    ) as stack:
        with session_at(stack.mcp), peer_of(stack.mcp) as second:
            assert second.post(OPENING).status == 429
            told = wait_for(path, "refused", reason="too_many_sessions")
            assert (told["actor"], told["outcome"]) == ("client", "refused")
        assert stack.worker.stop() == 0
    names = [event["event"].removeprefix("linkspan.audit.") for event in events_in(worker)]
    assert names == ["start", "stop"]  # nothing is told twice


@requirement("audit.limits")
def test_a_request_that_a_full_worker_turns_away_is_nobodys_refusal(
    probe: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "trail"
    limits = ("--max-in-flight", "1", "--audit-file", str(path))
    with (
        probe.with_worker(*limits) as stack,
        session_at(stack.mcp) as listener,
        peer_of(stack.mcp) as peer,
    ):
        with listener.listen():
            assert peer.ask_modern("probe/say", {"text": "hi"}).status == 503
        assert stack.worker.stop() == 0
    names = [event["event"].removeprefix("linkspan.audit.") for event in events_in(path)]
    assert names == ["start", "stop"]


@requirement("audit.limits")
@pytest.mark.parametrize("admin", ["127.0.0.1:0", "unix:"])
def test_operators_are_told_at_an_address_of_their_own(tmp_path: Path, admin: str) -> None:
    path = tmp_path / "trail"
    where = f"unix:{tmp_path / 'admin.sock'}" if admin == "unix:" else admin
    with (
        linkspan(
            *("session", "--app", PROBE, "--port", "0", "--data", str(tmp_path / "data")),
            *("--admin-address", where, "--audit-file", str(path)),
        ) as server,
        linkspan("worker", "--port", "0", "--session", server.wait_ready()["grpc"]) as worker,
        session_at(worker.wait_ready()["mcp"]) as peer,
    ):
        address = next(line for line in server.output if line.startswith("ready"))
        address = address.partition("admin=")[2].split()[0]
        assert peer.session_id is not None
        for words in (("list",), ("show",), ("end", "--yes")):
            about = () if words == ("list",) else ("--", peer.session_id)
            with linkspan("sessions", *words, "--server", address, *about) as command:
                assert command.wait() == 0, command.errors
        ended = wait_for(path, "session_end", session=session_digest(peer.session_id))
        assert (ended["actor"], ended["reason"]) == ("operator", "operator")
        told = wait_for_count(path, 3, lambda e: e["event"] == "linkspan.audit.operate")
        assert {"ListSessions", "GetSession", "EndSession"} <= {each["method"] for each in told}
        assert all(each["actor"] == "operator" for each in told)
        by = "127.0.0.1" if admin != "unix:" else "unix"
        assert all(each["client_address"] == by for each in told)
