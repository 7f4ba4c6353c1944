"""A real grpcurl against a running session server, and the commands of the README as printed."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.requirements import requirement
from tests.support.processes import REPOSITORY
from tests.support.stack import Stack

from linkspan_propagation.testing import ExportedSpan, OtlpReceiver

GRPCURL = str(Path(sys.prefix) / "bin" / "grpcurl")
SERVICE = "linkspan.session.v1.SessionService"
README_ADDRESS = "127.0.0.1:50051"

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
ANSWERED_TRACE = "4bf92f3577b34da6a3ce929d0e0e4737"

_NOT_FOUND = 64 + 5
"""With what status grpcurl ends for gRPC's NOT_FOUND."""


def grpcurl(
    stack: Stack, *arguments: str, data: dict[str, Any] | None = None, status: int = 0
) -> str:
    """Run grpcurl against the session server and return what it prints."""
    given = [] if data is None else ["-d", json.dumps(data)]
    words = list(arguments)
    method = [words.pop()] if words and not words[-1].startswith("-") else []
    return run([GRPCURL, "-plaintext", *words, *given, stack.grpc, *method], status)


def run(command: list[str], status: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout


@requirement("grpc.reflection")
def test_list_names_all_services(stack: Stack) -> None:
    assert grpcurl(stack, "list").split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        SERVICE,
    ]


@requirement("grpc.reflection")
def test_describe_shows_the_contract(stack: Stack) -> None:
    described = run([GRPCURL, "-plaintext", stack.grpc, "describe", SERVICE])
    for method in ("Init", "HandleRequest", "GetSession", "ListSessions"):
        assert f"rpc {method} (" in described
    assert "returns ( stream .linkspan.session.v1.HandleRequestResponse )" in described


@requirement("grpc.health")
@pytest.mark.parametrize("service", ["", SERVICE])
def test_health_is_serving(stack: Stack, service: str) -> None:
    answer = grpcurl(stack, "grpc.health.v1.Health/Check", data={"service": service})
    assert json.loads(answer) == {"status": "SERVING"}


@requirement("trace.grpcurl", "trace.parent")
def test_a_given_traceparent_is_found_on_the_exported_spans(
    stack: Stack, receiver: OtlpReceiver
) -> None:
    header = ("-H", f"traceparent: 00-{TRACE}-{PARENT}-01")
    session = "grpcurl-1"
    initialize = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "grpcurl", "version": "1"},
        },
    }
    created = grpcurl(stack, *header, f"{SERVICE}/Init", data={"sessionId": session})
    assert json.loads(created)["created"] is True
    answered = grpcurl(
        stack,
        *header,
        f"{SERVICE}/HandleRequest",
        data={"sessionId": session, "post": {"message": json.dumps(initialize)}},
    )
    result = json.loads(json.loads(answered)["message"]["json"])["result"]
    assert result["serverInfo"]["name"] == "everything"

    spans = receiver.wait_for(
        lambda spans: len(of_trace(spans)) >= 3, what="the spans of both calls"
    )
    by_name = {span.name: span for span in of_trace(spans)}
    assert set(by_name) == {"McpSession.init", "McpSession.handleRequest", "initialize"}
    assert by_name["McpSession.init"].parent_span_id == PARENT
    handled = by_name["McpSession.handleRequest"]
    assert handled.parent_span_id == PARENT
    assert by_name["initialize"].parent_span_id == handled.span_id


@requirement("trace.response")
def test_grpcurl_shows_which_trace_it_was(stack: Stack, receiver: OtlpReceiver) -> None:
    header = ("-H", f"traceparent: 00-{ANSWERED_TRACE}-{PARENT}-01")
    shown = grpcurl(stack, "-v", *header, f"{SERVICE}/Init", data={"sessionId": "grpcurl-2"})
    told = re.search(r"^traceresponse: (\S+)$", shown, re.MULTILINE)
    assert told is not None, shown
    spans = receiver.wait_for(
        lambda spans: any(span.trace_id == ANSWERED_TRACE for span in spans), what="the span"
    )
    (span,) = [span for span in spans if span.trace_id == ANSWERED_TRACE]
    assert told[1] == f"00-{ANSWERED_TRACE}-{span.span_id}-01"


@requirement("trace.response")
def test_a_call_that_fails_says_which_trace_it_was(stack: Stack) -> None:
    nobody = {"sessionId": "nobody"}
    failed = grpcurl(stack, "-v", f"{SERVICE}/GetSession", data=nobody, status=_NOT_FOUND)
    assert re.search(r"^traceresponse: 00-[0-9a-f]{32}-[0-9a-f]{16}-03$", failed, re.MULTILINE)


def test_the_commands_of_the_readme_work_as_printed(stack: Stack) -> None:
    commands = readme_commands()
    assert len(commands) >= 6
    for command in commands:
        words = shlex.split(command.replace(README_ADDRESS, stack.grpc))
        assert words[0].endswith("grpcurl"), command
        run([GRPCURL, *words[1:]])


def readme_commands() -> list[str]:
    """Return the grpcurl commands of the README, continued lines joined."""
    readme = (REPOSITORY / "README.md").read_text()
    (section,) = re.findall(r"^## grpcurl\n(.*?)(?=^## |\Z)", readme, re.DOTALL | re.MULTILINE)
    blocks: list[str] = re.findall(r"^```console\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    text = "".join(blocks).replace("\\\n", " ")
    return [line[2:] for line in text.splitlines() if line.startswith("$ ")]


def of_trace(spans: list[ExportedSpan]) -> list[ExportedSpan]:
    return [span for span in spans if span.trace_id == TRACE]
