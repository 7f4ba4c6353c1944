"""A gRPC server whose handlers can be called through tunnels as well.

Above lies the application; below lie `server_tunnel` and a real server. Owns which tunnels are open,
and how they end.
"""

import asyncio
import contextvars
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import grpc

from linkspan_tunnel.errors import TunnelBrokenError
from linkspan_tunnel.handling import GenericHandler, Handler, Handlers
from linkspan_tunnel.limits import TunnelLimits
from linkspan_tunnel.metadata import Entries, Metadatum
from linkspan_tunnel.server_tunnel import Client, ServerTunnel

SERVICE_NAME: Final = "linkspan.tunnel.v1.TunnelService"
_DEFAULT_LIMITS: Final = TunnelLimits()


class TunnelServer(grpc.aio.Server):
    """Stands before a server: what is added here is served plainly and through tunnels.

    Methods must be async; one that is not is UNIMPLEMENTED through a tunnel.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        *,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        limits: TunnelLimits = _DEFAULT_LIMITS,
    ) -> None:
        """Offer tunnels on a server that is not started yet.

        Args:
            server: The server. What is added to it directly is not served through tunnels.
            interceptors: Stand before handlers of calls through tunnels. Most likely those that the
                server has as well; there they see the opening of tunnels, too.
            limits: What this side keeps to.
        """
        self._server = server
        self._handlers = Handlers(interceptors)
        self._limits = limits
        self._tunnels: dict[ServerTunnel, asyncio.Task[Any]] = {}
        self._draining = False
        self._context = contextvars.copy_context()
        opening: Handler = grpc.stream_stream_rpc_method_handler(self._open)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE_NAME, {"Open": opening}),)
        )

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[GenericHandler]) -> None:
        """Add handlers that say themselves what they handle."""
        handlers = tuple(generic_rpc_handlers)
        self._server.add_generic_rpc_handlers(handlers)
        self._handlers.add_generic(handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """Add the handlers of a service by the names of its methods."""
        handlers = dict(method_handlers)
        self._server.add_registered_method_handlers(service_name, handlers)
        self._handlers.add_registered(service_name, handlers)

    def add_insecure_port(self, address: str) -> int:
        """Listen on an address; returns the port."""
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """Listen on an address with TLS; returns the port."""
        return self._server.add_secure_port(address, server_credentials)

    async def start(self) -> None:
        """Begin to serve."""
        self._context = contextvars.copy_context()
        await self._server.start()

    def drain(self) -> None:
        """Begin no more calls through tunnels; each tunnel ends once none runs on it any more."""
        self._draining = True
        for tunnel in self._tunnels:
            tunnel.drain()

    async def stop(self, grace: float | None) -> None:
        """Stop serving: `drain`, and stop the server behind.

        Args:
            grace: How long calls may run on, in seconds; None to cancel them at once.
        """
        self.drain()
        await self._server.stop(grace)
        if self._tunnels:
            await asyncio.wait(list(self._tunnels.values()))

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - grpc.aio's own
        """Wait until the server has stopped; returns whether that took longer than `timeout`."""
        return await self._server.wait_for_termination(timeout)

    async def _open(self, _requests: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        """Serve one tunnel."""
        task = asyncio.current_task()
        if self._draining or task is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is draining")
        tunnel = ServerTunnel(self._handlers, self._limits, _client(context), self._context)
        self._tunnels[tunnel] = task
        try:
            await tunnel.run(context)
        except TunnelBrokenError as broken:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(broken))
        finally:
            del self._tunnels[tunnel]


def _client(context: "grpc.aio.ServicerContext[Any, Any]") -> Client:
    user_agent: Entries = tuple(
        Metadatum(key, value)
        for key, value in context.invocation_metadata() or ()
        if key == "user-agent"
    )
    return Client(
        name=context.peer(),
        identities=context.peer_identities(),
        identity_key=context.peer_identity_key(),
        auth_context=context.auth_context(),
        user_agent=user_agent,
    )
