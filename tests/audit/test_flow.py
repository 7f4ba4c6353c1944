"""The trail of whole flows, over real processes: who did what to which session, and in which trace."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.audit.trails import events_in, wait_for, wait_for_count
from tests.auth.guarded import Guarded, running_guarded
from tests.requirements import requirement
from tests.support.peer import Message, modern, modern_headers, notification, request, session_at
from tests.support.processes import REPOSITORY, linkspan
from tests.support.stack import running_stack

from linkspan_contract.session_digest import session_digest
from linkspan_propagation.testing import OtlpReceiver

PARROT = str(REPOSITORY / "tests" / "apps" / "parrot.py") + ":mcp"
TASKING = str(REPOSITORY / "tests" / "apps" / "tasking.py") + ":mcp"


@dataclass(frozen=True, slots=True)
class Audited:
    """What runs, and where its trails are."""

    guarded: Guarded
    session: Path
    worker: Path


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    folder = tmp_path_factory.mktemp("audited")
    session, worker = folder / "session.jsonl", folder / "worker.jsonl"
    with running_guarded(
        folder,
        *("--audit-file", str(worker)),
        session_arguments=("--audit-file", str(session)),
    ) as guarded:
        yield Audited(guarded, session, worker)


@requirement("audit.flow", "audit.secrets")
def test_a_session_is_told_from_its_creation_to_its_end(audited: Audited) -> None:
    guarded = audited.guarded
    token = guarded.token(subject="ana", client_id="desk", scope="sums", org_id="acme")
    with guarded.peer(token) as peer:
        assert peer.initialize().status == 200
        assert peer.session_id is not None
        session_id, digest = peer.session_id, session_digest(peer.session_id)
        peer.http.headers["user-agent"] = "sum-of-ana"
        assert peer.call("add", a=2, b=3).result["structuredContent"] == {"result": 5}
        peer.http.headers["user-agent"] = "else"
        assert peer.call("test_error_handling").result["isError"] is True
        unknown = peer.call("no_such_tool")
        assert peer.ask("resources/read", {"uri": "test://static-text?key=1"}).status == 403
        assert peer.ask("prompts/get", {"name": "test_simple_prompt"}).status == 200
        with peer.listen() as stream:
            assert stream.response.status_code == 200
            wait_for(audited.session, "listen", session=digest)
        assert peer.end().status == 200
    who = {
        "actor": "client",
        "issuer": guarded.issuer.name,
        "subject": "ana",
        "resource": guarded.mcp,
        "client_id": "desk",
        "session": digest,
    }
    path = audited.session
    created = wait_for(path, "session_create", **who, outcome="ok")
    opened = wait_for(path, "request", **who, method="initialize", outcome="ok")
    added = wait_for(path, "tool_call", **who, tool="add", outcome="ok", method="tools/call")
    wait_for(path, "tool_call", **who, tool="test_error_handling", outcome="tool_error")
    outcome = "tool_error" if "result" in unknown.final else "error"
    wait_for(path, "tool_call", **who, tool="no_such_tool", outcome=outcome)
    wait_for(path, "request", **who, method="prompts/get", target="test_simple_prompt")
    ended = wait_for(path, "session_end", **who, outcome="ok", reason="deleted")
    assert created["time"] <= opened["time"] <= added["time"] <= ended["time"]
    assert added["request_id"] == "1"
    assert created["trace_id"] == opened["trace_id"]
    sum_of = guarded.span_of("sum-of-ana")
    assert added["trace_id"] == sum_of.trace_id
    guarded.receiver.wait_for(
        lambda spans: bool(
            {(sum_of.trace_id, added["span_id"]), (created["trace_id"], created["span_id"])}
            <= {(span.trace_id, span.span_id) for span in spans}
        ),
        15,
        "the spans that the trail names",
    )
    for text in (audited.session.read_text(), audited.worker.read_text()):
        assert session_id not in text
        assert token not in text
        assert "arguments" not in text


@requirement("audit.refusals")
def test_a_try_of_a_stranger_is_told_by_the_worker(audited: Audited) -> None:
    guarded = audited.guarded
    for agent, token, reason in (
        ("nobody", None, "missing"),
        ("expired", guarded.token(exp=1), "expired"),
        ("bad", "not-a-token", "malformed"),
    ):
        with guarded.peer(token or "") as peer:
            if token is None:
                del peer.http.headers["authorization"]
            peer.http.headers["user-agent"] = f"stranger-{agent}"
            status = peer.post(request("tools/call", {"name": "add"})).status
        span = guarded.span_of(f"stranger-{agent}")
        told = [e for e in events_in(audited.worker) if e.get("trace_id") == span.trace_id] or [
            wait_for(audited.worker, "refused", trace_id=span.trace_id)
        ]
        assert len(told) == 1
        expected = {
            "event": "linkspan.audit.refused",
            "actor": "client",
            "client_address": "127.0.0.1",
            "method": "tools/call",
            "tool": "add",
            "outcome": "refused",
            "status": status,
        }
        assert expected.items() <= told[0].items()
        assert told[0]["reason"] == span.attributes["mcp.auth.invalid_reason"]
        assert told[0]["reason"] in (reason, "bad_syntax", "inactive")
        assert "subject" not in told[0]


@requirement("audit.refusals")
def test_what_a_scope_does_not_allow_is_told_with_who_tried(audited: Audited) -> None:
    guarded = audited.guarded
    with guarded.peer(guarded.token(subject="bob", client_id="cli")) as peer:
        assert peer.initialize().status == 200
        assert peer.session_id is not None
        assert peer.call("add", a=1, b=1).status == 403
        told = wait_for(audited.worker, "refused", subject="bob")
        expected = {
            "issuer": guarded.issuer.name,
            "client_id": "cli",
            "session": session_digest(peer.session_id),
            "method": "tools/call",
            "tool": "add",
            "reason": "insufficient_scope",
            "status": 403,
        }
        assert expected.items() <= told.items()


@requirement("audit.refusals")
def test_a_foreign_session_is_told_apart_from_an_unknown_one_in_the_trail_alone(
    audited: Audited,
) -> None:
    guarded = audited.guarded
    with (
        guarded.peer(guarded.token(subject="owner-of-it")) as owner,
        guarded.peer(guarded.token(subject="mallory")) as stranger,
    ):
        assert owner.initialize().status == 200
        stranger.session_id = owner.session_id
        stranger.http.headers["user-agent"] = "mallory-once"
        foreign = stranger.ask("ping")
        stranger.session_id = "never-was-0123456789"
        stranger.http.headers["user-agent"] = "mallory-twice"
        unknown = stranger.ask("ping")
        assert (foreign.status, foreign.error) == (unknown.status, unknown.error)
        assert owner.session_id is not None
        digest = session_digest(owner.session_id)
    told = wait_for(audited.session, "refused", subject="mallory", reason="foreign_session")
    assert told["session"] == digest
    assert told["trace_id"] == guarded.span_of("mallory-once").trace_id
    told = wait_for(audited.session, "refused", subject="mallory", reason="session_not_found")
    assert told["trace_id"] == guarded.span_of("mallory-twice").trace_id
    assert not [e for e in events_in(audited.worker) if e.get("subject") == "mallory"]


@requirement("audit.flow")
def test_what_operators_do_is_told_as_theirs(audited: Audited) -> None:
    guarded = audited.guarded
    with guarded.peer(guarded.token(subject="dora")) as peer:
        assert peer.initialize().status == 200
        assert peer.session_id is not None
        digest = session_digest(peer.session_id)
        for words in (("show",), ("end", "--yes")):
            with linkspan(
                "sessions", *words, "--server", guarded.stack.grpc, "--", peer.session_id
            ) as command:
                assert command.wait() == 0, command.errors
    ended = wait_for(audited.session, "session_end", subject="dora")
    assert (ended["actor"], ended["reason"]) == ("operator", "operator")
    operated = wait_for_count(
        audited.session,
        2,
        lambda e: e["event"] == "linkspan.audit.operate" and e.get("session") == digest,
    )
    assert {"GetSession", "EndSession"} <= {each["method"] for each in operated}
    assert all(each["client_address"] == "127.0.0.1" for each in operated)


@requirement("audit.expiry")
def test_a_session_that_expires_is_told_with_whose_it_was(tmp_path: Path) -> None:
    path = tmp_path / "trail"
    with (
        running_guarded(
            tmp_path,
            session_arguments=("--audit-file", str(path), "--session-ttl", "1"),
        ) as guarded,
        guarded.peer(guarded.token(subject="eve")) as peer,
    ):
        assert peer.initialize().status == 200
        assert peer.session_id is not None
        ended = wait_for(path, "session_end", subject="eve")
        assert ended["session"] == session_digest(peer.session_id)
        assert (ended["actor"], ended["reason"]) == ("server", "expired")
        guarded.stack.session.stop()
        names = [event["event"].removeprefix("linkspan.audit.") for event in events_in(path)]
        assert (names[0], names[-1]) == ("start", "stop")


@requirement("audit.secrets")
def test_arguments_and_results_are_shown_only_where_told_to_and_without_credentials(
    tmp_path: Path,
) -> None:
    path = tmp_path / "trail"
    arguments = ("--audit-file", str(path), "--audit-content")
    with (
        running_stack(tmp_path, session_arguments=arguments) as stack,
        session_at(stack.mcp) as peer,
    ):
        assert peer.call("echo", text="plain words").status == 200
        assert peer.call("echo", text="Bearer abcdef0123456789").status == 200
        assert peer.call("echo", text="x" * 20_000).status == 200
        assert peer.call("echo", text="ok", api_key="k-123456").status == 200
        plain, bearer, long, named = wait_for_count(path, 4, lambda e: e.get("tool") == "echo")
    assert json.loads(plain["arguments"]) == {"text": "plain words"}
    assert "plain words" in plain["result"]
    assert json.loads(bearer["arguments"]) == {"text": "[redacted]"}
    assert json.loads(named["arguments"])["api_key"] == "[redacted]"
    for field in ("arguments", "result"):
        assert len(long[field]) == 4096
    text = path.read_text()
    assert "abcdef0123456789" not in text
    assert "k-123456" not in text


@requirement("audit.trouble")
def test_a_result_that_cannot_be_written_is_told_and_nothing_ends_for_it(tmp_path: Path) -> None:
    path = tmp_path / "trail"
    arguments = ("--audit-file", str(path), "--audit-content")
    with (
        running_stack(tmp_path, app=PARROT, session_arguments=arguments) as stack,
        session_at(stack.mcp) as peer,
    ):
        assert "error" in peer.call("count").final
        assert peer.call("note", text="still here").status == 200
        assert "many" in wait_for(path, "tool_call", tool="count")["result"]
        wait_for(path, "tool_call", tool="note", outcome="ok")


@requirement("audit.lines")
def test_no_name_that_a_caller_chooses_can_end_a_line_or_move_a_cursor(tmp_path: Path) -> None:
    path = tmp_path / "trail"
    forged = (
        '\n{"event": "linkspan.audit.session_end"}\r\x1b[2J\x1b]0;x\x07\x00\x7f\x9b\u2028\u202e'
    )
    with (
        running_stack(tmp_path, session_arguments=("--audit-file", str(path))) as stack,
        session_at(stack.mcp) as peer,
    ):
        peer.call(forged)
        peer.ask("prompts/get", {"name": forged})
        peer.ask("resources/read", {"uri": "https://ana:s3cret@host/a?b=s3cret#s3cret"})
        told = wait_for(path, "tool_call")
        wait_for(path, "request", target="https://host/a")
        wait_for(path, "request", method="prompts/get")
    assert told["tool"] == forged
    assert re.fullmatch(rb"[\x20-\x7e\n]*", path.read_bytes())
    assert all(line.startswith(b'{"time": "') for line in path.read_bytes().splitlines())
    assert not [e for e in events_in(path) if e["event"] == "linkspan.audit.session_end"]


@requirement("audit.flow")
def test_a_task_is_told_when_its_tool_is_called_and_when_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "trail"
    with (
        OtlpReceiver() as receiver,
        running_stack(
            tmp_path, app=TASKING, receiver=receiver, session_arguments=("--audit-file", str(path))
        ) as stack,
        session_at(stack.mcp) as peer,
    ):
        message = modern("tools/call", {"name": "say", "arguments": {"length": 3}})
        capabilities: Message = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
        meta = message["params"]["_meta"]
        meta["io.modelcontextprotocol/clientCapabilities"] = capabilities
        answer = peer.post(message, headers=modern_headers(message))
        task = session_digest(answer.result["taskId"])
        called = wait_for(path, "tool_call", tool="say", outcome="task")
        ended = wait_for(path, "task_end", tool="say", task=task, outcome="completed")
        assert ended["trace_id"] == called["trace_id"]
        assert "session" not in called


@requirement("audit.flow")
def test_a_call_that_is_cancelled_or_too_slow_is_told_as_that(tmp_path: Path) -> None:
    path = tmp_path / "trail"
    arguments = ("--audit-file", str(path), "--open-stream-after", "0.05")
    with (
        running_stack(tmp_path, session_arguments=(*arguments, "--request-timeout", "5")) as stack,
        session_at(stack.mcp) as peer,
    ):
        slow = {"name": "sleep", "arguments": {"seconds": 50}}
        with peer.stream(request("tools/call", slow, id="never")) as stream:
            assert stream.response.status_code == 200
            told = peer.post(notification("notifications/cancelled", {"requestId": "never"}))
            assert told.status == 202
            wait_for(path, "tool_call", request_id="never", outcome="cancelled")
        peer.post(request("tools/call", slow, id="late"))
        wait_for(path, "tool_call", request_id="late", outcome="timed_out")
