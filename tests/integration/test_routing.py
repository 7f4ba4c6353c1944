"""Which calls belong together: the routing key that a worker sends, seen by a session server."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import httpx2
from tests.requirements import requirement
from tests.support.processes import linkspan

from linkspan.session.v1.session_service_pb2 import (
    Accepted,
    HandleRequestRequest,
    HandleRequestResponse,
)

Context = grpc.ServicerContext


class Witness:
    """A session server that remembers the routing key of each call and accepts everything."""

    def __init__(self) -> None:
        self.keys: list[str | None] = []

    def handle(self, _: HandleRequestRequest, context: Context) -> Iterator[HandleRequestResponse]:
        """Remember the key."""
        metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
        self.keys.append(metadata.get("linkspan-routing-key"))
        yield HandleRequestResponse(accepted=Accepted())


@contextmanager
def witness() -> Generator[tuple[Witness, str]]:
    server = grpc.server(ThreadPoolExecutor(1))
    seen = Witness()
    handler = grpc.unary_stream_rpc_method_handler(
        seen.handle,
        request_deserializer=HandleRequestRequest.FromString,
        response_serializer=HandleRequestResponse.SerializeToString,
    )
    service = "linkspan.session.v1.SessionService"
    methods = {"HandleRequest": handler}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield seen, f"127.0.0.1:{port}"
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
            assert httpx2.post(address, json=note, headers=headers, timeout=30).status_code == 202
    assert servicer.keys == ["mine", "%C3%BC%C3%A4", None, "s-1"]
