"""The command line: what is hosted, by how many processes, at which address."""

import asyncio
import json
import signal
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests.integration.starting.commands import (
    all_children_of,
    hosting,
    said,
)
from tests.requirements import requirement
from tests.support.apps import APPS, PROBE
from tests.support.peer import Peer, modern, session_at
from tests.support.processes import linkspan
from tests.support.session_calls import TIMEOUT_SECONDS, service_at

from linkspan.session.v1.session_service_pb2 import (
    HandleRequestRequest,
    ListSessionsRequest,
    Post,
)


async def owners(target: str) -> set[str]:
    """Return the addresses of the session servers that have any session in memory."""
    async with service_at(target) as service:
        page = await service.ListSessions(ListSessionsRequest(), timeout=TIMEOUT_SECONDS)
    return {each.owner_address for each in page.sessions}


@requirement("cli.cores")
def test_several_session_servers_and_workers_serve_the_same_sessions_on_one_port(
    tmp_path: Path,
) -> None:
    several = ("--session-processes", "2", "--workers", "2")
    with linkspan(*hosting("run", PROBE, data=tmp_path), *several) as process:
        addresses = process.wait_ready()
        mcp = addresses["mcp"]
        names = sorted(name for name, _ in all_children_of(process))
        assert names == ["session", "session", "traces", "worker", "worker"]
        with ExitStack() as opened:
            first, *_ = [opened.enter_context(session_at(mcp)) for _ in range(20)]
            assert len(asyncio.run(owners(addresses["grpc"]))) == 2  # not all came to the same one
            for _ in range(8):  # each on a connection of its own, which either worker may get
                with closing(Peer(mcp, session_id=first.session_id)) as again:
                    assert again.ask("probe/say", {"text": "hi"}).status == 200
        assert process.stop() == 0


def test_what_the_hosted_server_prints_is_passed_on_however_long_a_line_is(tmp_path: Path) -> None:
    with linkspan(*hosting("run", str(APPS / "chatty.py"), data=tmp_path)) as process:
        process.wait_ready()
        assert "x" * 1_000_000 in process.output
        assert "ready to talk" in process.output
        process.signal(signal.SIGINT)
        assert process.wait() == 0


def test_on_ipv6_the_addresses_are_written_with_brackets(tmp_path: Path) -> None:
    env = {"LINKSPAN_SESSION_HOST": "::1", "LINKSPAN_WORKER_HOST": "::1"}
    with linkspan(*hosting("run", str(APPS / "kinds.py"), data=tmp_path), env=env) as process:
        addresses = process.wait_ready()
        assert addresses["grpc"].startswith("[::1]:")
        assert addresses["mcp"].startswith("http://[::1]:")
        with session_at(addresses["mcp"]) as peer:
            assert "5" in peer.call("add", a=2, b=3).result["content"][0]["text"]


@pytest.mark.parametrize("attribute", ["factory", "fastmcp"])
def test_each_kind_of_server_is_hosted(attribute: str, tmp_path: Path) -> None:
    async def answer_of(target: str) -> str:
        message = modern("tools/call", {"name": "add", "arguments": {"a": 2, "b": 3}})
        request = HandleRequestRequest(post=Post(message=json.dumps(message)))
        async with service_at(target) as service:
            (event,) = [each async for each in service.HandleRequest(request, timeout=20)]
        text: str = json.loads(event.message.json)["result"]["content"][0]["text"]
        return text

    app = str(APPS / "kinds.py") + f":{attribute}"
    with linkspan(*hosting("session", app, data=tmp_path)) as process:
        assert asyncio.run(answer_of(process.wait_ready()["grpc"])) == "5"


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])  # noqa: S104
def test_a_session_server_that_others_reach_says_that_it_asks_nobody(
    host: str, warned: bool, tmp_path: Path
) -> None:
    where = ("--host", host, "--port", "0", "--advertise", "192.0.2.1:50051", "--insecure-no-tls")
    with linkspan("session", "--app", PROBE, "--data", str(tmp_path), *where) as process:
        process.wait_ready()
        assert process.stop() == 0
        assert said(process, "nobody is asked who they are") == warned
