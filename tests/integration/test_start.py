"""A session server that is still starting: whoever calls it waits for it, and need not try again."""

import os
import socket
from pathlib import Path

import grpc
from tests.support.ports import free_port
from tests.support.processes import linkspan
from tests.support.waiting import wait_until

from linkspan.session.v1.session_service_pb2 import ListSessionsRequest, ListSessionsResponse
from linkspan.session.v1.session_service_pb2_grpc import SessionServiceStub

_APP = """\
import os
from mcp.server import MCPServer
with open(os.environ["GATE"]) as gate:
    gate.read()
mcp = MCPServer("late")
"""
_SECONDS = 40.0


def test_a_call_made_while_the_session_server_still_imports_is_answered(tmp_path: Path) -> None:
    app, gate = tmp_path / "late.py", tmp_path / "gate"
    app.write_text(_APP)
    os.mkfifo(gate)
    port = free_port()
    arguments = ("--app", f"{app}:mcp", "--data", str(tmp_path / "data"), "--port", str(port))
    with linkspan("session", *arguments, "--with-parent", env={"GATE": str(gate)}) as process:
        wait_until(lambda: _listens(port), "the port to be taken")
        options = (("grpc.initial_reconnect_backoff_ms", 60_000),)
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            call = SessionServiceStub(channel).ListSessions.future(
                ListSessionsRequest(), timeout=_SECONDS
            )
            with gate.open("w"):  # returns once the server's import has come to it
                assert not call.done()
            assert call.result() == ListSessionsResponse()
        process.wait_ready()


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
