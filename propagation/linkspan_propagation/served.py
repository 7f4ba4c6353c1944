"""A server of grpc.aio whose handlers are traced, without gRPC's interceptor machinery.

Owns a server that stands before another, takes the handlers that are added to it, and hands on
traced ones. gRPC looks handlers up in the RPC's own task, so that all that ``server`` does can be
done there. Below lie ``server`` and ``handlers``; ``sync_served`` is its sibling for threads.

Invariants: as in ``server``. What a server can do beyond taking handlers goes to the one behind.
"""

from collections.abc import Iterable, Mapping
from typing import Unpack

import grpc

from linkspan_propagation.handlers import Handler, Watches
from linkspan_propagation.options import ServerOptions
from linkspan_propagation.server import begin_rpc, server_spans
from linkspan_propagation.server_spans import ServerSpans


def traced_aio_server(server: grpc.aio.Server, **options: Unpack[ServerOptions]) -> grpc.aio.Server:
    """Return a server that traces the handlers that are added to it; see ``traced_server``."""
    return _TracedServer(server, server_spans(**options))


class _TracedServer(grpc.aio.Server):
    def __init__(self, server: grpc.aio.Server, spans: ServerSpans) -> None:
        self._server = server
        self._spans = spans

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: "Iterable[grpc.GenericRpcHandler]"
    ) -> None:
        self._server.add_generic_rpc_handlers(
            tuple(_TracedHandlers(handlers, self._spans) for handlers in generic_rpc_handlers)
        )

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: "Mapping[str, Handler]"
    ) -> None:
        # gRPC would look these up without asking anybody. They are found by name as well.
        self.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service_name, dict(method_handlers))]
        )

    def add_insecure_port(self, address: str) -> int:
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        return self._server.add_secure_port(address, server_credentials)

    async def start(self) -> None:
        self._server.add_generic_rpc_handlers((_NoHandlers(self._spans),))
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        return await self._server.wait_for_termination(timeout)


class _TracedHandlers(grpc.GenericRpcHandler):
    """Finds what the handlers behind it find, traced."""

    def __init__(self, handlers: grpc.GenericRpcHandler, spans: ServerSpans) -> None:
        self._handlers = handlers
        self._spans = spans
        self._watches = Watches()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        handler: Handler | None = self._handlers.service(handler_call_details)
        if handler is None:
            return None
        rpc = begin_rpc(self._spans, handler_call_details)
        return self._watches.watched(handler_call_details.method, handler, rpc)


class _NoHandlers(grpc.GenericRpcHandler):
    """Stands behind all others, and hears of the methods that none of them has."""

    def __init__(self, spans: ServerSpans) -> None:
        self._spans = spans

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        rpc = begin_rpc(self._spans, handler_call_details)
        if rpc is not None:
            rpc.unimplemented()
