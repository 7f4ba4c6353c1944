"""Which calls belong together: the routing key that a worker sends, seen by a session server."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import httpx2
from tests.requirements import requirement
from tests.support.processes import linkspan

from linkspan.session.v1.session_service_pb2 import Accepted, HandleRequestResponse
from linkspan.session.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    add_SessionServiceServicer_to_server,
)


class Witness(SessionServiceServicer):
    """A session server that remembers the routing key of each call and accepts everything."""

    def __init__(self) -> None:
        self.keys: list[str | None] = []
        self._lock = threading.Lock()

    def HandleRequest(  # noqa: N802 - the contract's name
        self,
        request: Any,  # noqa: ARG002 - the contract's signature
        context: Any,
    ) -> Iterator[HandleRequestResponse]:
        """Remember the key."""
        metadata = dict(context.invocation_metadata())
        with self._lock:
            self.keys.append(metadata.get("linkspan-routing-key"))
        yield HandleRequestResponse(accepted=Accepted())


@contextmanager
def witness() -> Iterator[tuple[Witness, str]]:
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = Witness()
    add_SessionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()


@requirement("modern.routing-key")
def test_the_configured_header_or_else_the_session_is_the_routing_key() -> None:
    modern = {"mcp-protocol-version": "2026-07-28", "content-type": "application/json"}
    note = {"jsonrpc": "2.0", "method": "notifications/anything"}
    arguments = ("worker", "--port", "0", "--routing-header", "Mcp-Param-Notebook")
    with witness() as (servicer, target), linkspan(*arguments, "--session", target) as worker:
        address = worker.wait_ready()["mcp"]
        for headers in (
            {**modern, "mcp-param-notebook": "mine"},
            {**modern, "mcp-param-notebook": "=?base64?w7zDpA==?="},
            modern,
            {"content-type": "application/json", "mcp-session-id": "s-1"},
        ):
            assert httpx2.post(address, json=note, headers=headers).status_code == 202
    assert servicer.keys == ["mine", "%C3%BC%C3%A4", None, "s-1"]
