"""An address for operators: what is there, and what is there no longer where workers call."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from tests.requirements import requirement
from tests.support.certificates import Authority
from tests.support.fleet import running_fleet
from tests.support.peer import session_at
from tests.support.processes import EVERYTHING, linkspan

from linkspan.session.v1.session_service_pb2 import ListSessionsRequest
from linkspan.session.v1.session_service_pb2_grpc import SessionServiceStub
from linkspan_process.ready import parse_ready_line
from linkspan_tunnel import TunnelChannel

GRPCURL = str(Path(sys.prefix) / "bin" / "grpcurl")
SERVICE = "linkspan.session.v1.SessionService"
PROTOS = Path(__file__).parents[2] / "protos"
KNOWN = ("-import-path", str(PROTOS), "-proto", "linkspan/session/v1/session_service.proto")
APART = ("--admin-address", "127.0.0.1:0")


def grpcurl(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [GRPCURL, *words], capture_output=True, text=True, timeout=30, check=False
    )


def started(data: Path, *flags: str) -> tuple[str, ...]:
    return ("session", "--app", EVERYTHING, "--port", "0", "--data", str(data), *flags)


@requirement("admin.apart")
@pytest.mark.parametrize("instrumentation", ["native", "contrib"])
def test_reflection_and_what_operators_call_is_at_their_address_alone(
    instrumentation: str, tmp_path: Path
) -> None:
    how = ("--grpc-instrumentation", instrumentation)
    with linkspan(*started(tmp_path, *APART, *how)) as server:
        ready = server.wait_ready()
        main, admin = ready["grpc"], ready["admin"]
        assert "reflection API" in grpcurl("-plaintext", main, "list").stderr
        assert SERVICE in grpcurl("-plaintext", admin, "list").stdout
        for method in ("ListSessions", "GetSession", "EndSession"):
            asked = ("-plaintext", *KNOWN, "-d", "{}", main, f"{SERVICE}/{method}")
            assert "Unimplemented" in grpcurl(*asked).stderr
        listed = grpcurl("-plaintext", *KNOWN, admin, f"{SERVICE}/ListSessions")
        assert json.loads(listed.stdout) == {}
        health = ("-plaintext", "grpc.health.v1.Health/Check")
        assert "SERVING" in grpcurl(health[0], admin, health[1]).stdout
        with (
            linkspan("worker", "--session", main, "--port", "0", *how) as worker,
            session_at(worker.wait_ready()["mcp"]) as session,
        ):
            assert session.call("add", a=2, b=3).result["structuredContent"] == {"result": 5}
            with linkspan("sessions", "list", "--server", admin, "--json") as process:
                assert process.wait() == 0, process.errors
                assert len(process.output) == 1
        with linkspan("sessions", "list", "--server", main) as process:
            assert process.wait() == 1
            (line,) = process.errors
            assert "has an --admin-address" in line


@requirement("admin.apart")
def test_a_tunnel_does_not_get_around_it(tmp_path: Path) -> None:
    async def ask(address: str) -> grpc.StatusCode:
        async with TunnelChannel(grpc.aio.insecure_channel(address)) as channel:
            await asyncio.wait_for(channel.channel_ready(), timeout=20)
            try:
                await SessionServiceStub(channel).ListSessions(ListSessionsRequest(), timeout=20)
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

    with linkspan(*started(tmp_path, *APART)) as server:
        ready = server.wait_ready()
        assert asyncio.run(ask(ready["grpc"])) is grpc.StatusCode.UNIMPLEMENTED
        assert asyncio.run(ask(ready["admin"])) is grpc.StatusCode.OK


@requirement("admin.apart", "tls.peers")
def test_operators_can_be_others_than_workers(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    server = authority.issue("server")
    worker = authority.issue("worker", ("spiffe://example.com/worker",))
    operator = authority.issue("operator", ("spiffe://example.com/operator",))
    peers = ("--tls-peers", "spiffe://example.com/worker")
    admins = ("--tls-admin-peers", "spiffe://example.com/operator")
    with linkspan(*started(tmp_path, *APART, *server.flags, *peers, *admins)) as process:
        ready = process.wait_ready()
        listing = (ready["admin"], "list")
        assert SERVICE in grpcurl(*operator.grpcurl, *listing).stdout
        assert "PermissionDenied" in grpcurl(*worker.grpcurl, *listing).stderr
        init = ("-d", '{"sessionId": "one"}', ready["grpc"], f"{SERVICE}/Init")
        assert "created" in grpcurl(*worker.grpcurl, *KNOWN, *init).stdout
        assert "PermissionDenied" in grpcurl(*operator.grpcurl, *KNOWN, *init).stderr


@requirement("admin.apart")
def test_a_session_is_ended_at_its_owners_address_for_operators(tmp_path: Path) -> None:
    with running_fleet(
        f"sqlite:///{tmp_path / 'sessions.db'}", servers=2, session_arguments=APART
    ) as fleet:
        mcp = fleet.add_worker()
        with session_at(mcp) as session:
            assert session.call("add", a=1, b=1).status == 200
            (owner,) = {commit.owner for commit in fleet.commits()}
            (other,) = [each for each in fleet.servers if not owner.startswith(each.address + "#")]
            ready = parse_ready_line(other.process.output[-1])
            assert ready is not None
            # It names the owner, which is called in its turn.
            words = ("sessions", "end", str(session.session_id), "--yes", "--server")
            with linkspan(*words, ready["admin"]) as end:
                assert end.wait() == 0, end.errors
                assert end.output == ["ended 1, gone already 0, failed 0"]
            assert session.call("add", a=1, b=1).status == 404


@requirement("admin.apart")
def test_what_runs_in_a_session_is_known_whichever_server_is_asked(tmp_path: Path) -> None:
    """Owners are asked at their addresses for operators, and the server that is asked knows its own."""
    with running_fleet(
        f"sqlite:///{tmp_path / 'sessions.db'}", servers=2, session_arguments=APART
    ) as fleet:
        mcp = fleet.add_worker()
        with session_at(mcp) as session:
            assert session.call("add", a=1, b=1).status == 200
            for each in fleet.servers:
                ready = parse_ready_line(each.process.output[-1])
                assert ready is not None
                words = ("sessions", "show", str(session.session_id), "--server", ready["admin"])
                with linkspan(*words) as show:
                    assert show.wait() == 0, show.errors
                    (running,) = [line for line in show.output if "requests running" in line]
                    assert running.split()[-1] == "0", running
                with linkspan(*words, "--json") as show:
                    assert show.wait() == 0, show.errors
                    assert json.loads(show.output[0])["requests_in_flight"] == 0
