"""Whoever reaches a session server and is refused at its door is in the trail, and in the log once."""

import json
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from tests.audit.trails import Event, wait_for_count
from tests.requirements import requirement
from tests.support.certificates import Authority
from tests.support.peer import peer_of
from tests.support.processes import EVERYTHING, linkspan
from tests.support.stack import Stack
from tests.support.waiting import wait_until

GRPCURL = str(Path(sys.prefix) / "bin" / "grpcurl")
SERVICE = "linkspan.session.v1.SessionService"
PROTOS = Path(__file__).parents[2] / "protos"
KNOWN = ("-import-path", str(PROTOS), "-proto", "linkspan/session/v1/session_service.proto")
WORKER, OPERATOR = "spiffe://example.com/worker", "operator.example.com"


def grpcurl(*words: str) -> str:
    done = subprocess.run(
        [GRPCURL, *words], capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr


def refusals(event: Event) -> bool:
    return bool(event["event"] == "linkspan.audit.refused")


@requirement("audit.peers")
@pytest.mark.parametrize("instrumentation", ["native", "contrib"])
def test_callers_at_the_wrong_door_or_without_a_name_are_told_and_warned_of_once(
    instrumentation: str, tmp_path: Path
) -> None:
    authority, trail = Authority(tmp_path / "authority"), tmp_path / "trail"
    worker, operator = authority.issue("w", (WORKER,)), authority.issue("o", (OPERATOR,))
    stranger = authority.issue("s", ("spiffe://example.com/other", "other.example.com"))
    flags = (
        *authority.issue("server").flags,
        *("--admin-address", "127.0.0.1:0", "--tls-peers", WORKER, "--tls-admin-peers", OPERATOR),
        *("--audit-file", str(trail), "--grpc-instrumentation", instrumentation),
    )
    words = ("session", "--app", EVERYTHING, "--port", "0", "--data", str(tmp_path), *flags)
    with linkspan(*words) as process:
        ready = process.wait_ready()
        main, admin = ready["grpc"], ready["admin"]
        listing = f"{SERVICE}/ListSessions"
        for _ in range(2):
            init = ("-d", '{"sessionId": "one"}', main, f"{SERVICE}/Init")
            assert "PermissionDenied" in grpcurl(*stranger.grpcurl, *KNOWN, *init)
        assert "PermissionDenied" in grpcurl(*worker.grpcurl, *KNOWN, admin, listing)
        assert "Unimplemented" in grpcurl(*worker.grpcurl, *KNOWN, main, listing)
        assert json.loads(grpcurl(*operator.grpcurl, *KNOWN, admin, listing)) == {}
        told = wait_for_count(trail, 4, refusals)
        (done,) = wait_for_count(trail, 1, lambda e: e["event"] == "linkspan.audit.operate")

        def warnings() -> list[str]:
            return [line for line in process.errors if " and was refused: " in line]

        wait_until(lambda: len(warnings()) >= 2, "the log to say so")
        assert process.stop() == 0
        unnamed, misled = warnings()
    assert [each["reason"] for each in told] == [*["peer_not_named"] * 3, "wrong_door"]
    assert [each["peer_name"] for each in told] == [
        *["spiffe://example.com/other"] * 2,
        *[WORKER] * 2,
    ]
    assert [each["method"] for each in told] == ["Init", "Init", "ListSessions", "ListSessions"]
    for each in told:
        said = {"actor": "peer", "outcome": "refused", "client_address": "127.0.0.1"}
        assert said.items() <= each.items()
    assert (done["client_address"], done["peer_name"]) == ("127.0.0.1", OPERATOR)
    assert "spiffe://example.com/other" in unnamed
    assert "ListSessions" in misled


@requirement("audit.peers")
def test_a_worker_that_is_not_named_is_told_by_its_tunnel(tmp_path: Path) -> None:
    authority, trail = Authority(tmp_path / "authority"), tmp_path / "trail"
    flags = (*authority.issue("server").flags, "--tls-peers", WORKER, "--audit-file", str(trail))
    words = ("session", "--app", EVERYTHING, "--port", "0", "--data", str(tmp_path), *flags)
    other = authority.issue("other", ("other.example.com",))
    with (
        linkspan(*words) as process,
        linkspan(
            *("worker", "--port", "0", "--retry-for", "0.5", *other.flags),
            *("--session", process.wait_ready()["grpc"]),
        ) as worker,
        peer_of(worker.wait_ready()["mcp"]) as peer,
    ):
        assert peer.initialize().status == 503
        first, *_ = wait_for_count(trail, 1, refusals)
    said = {
        "reason": "peer_not_named",
        "peer_name": "other.example.com",
        "client_address": "127.0.0.1",
        "actor": "peer",
    }
    assert said.items() <= first.items()


@requirement("audit.refusals")
def test_a_page_and_a_host_that_are_refused_have_a_word_for_it(
    probe: Stack, tmp_path: Path
) -> None:
    trail = tmp_path / "trail"
    with probe.with_worker("--audit-file", str(trail)) as stack:
        for headers in ({"origin": "https://elsewhere.example"}, {"host": "elsewhere.example"}):
            httpx2.post(stack.mcp, headers=headers, content=json.dumps({}), timeout=20)
        told = wait_for_count(trail, 2, refusals)
    assert [(each["status"], each["reason"]) for each in told] == [
        (403, "foreign_origin"),
        (421, "unknown_host"),
    ]
