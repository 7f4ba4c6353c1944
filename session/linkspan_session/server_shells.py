"""Servers of grpc.aio that stand before another, and change what is added to it.

Above lies `listener`. `GuardedServer` lets nobody call whose certificate does not hold one of some
names; `NarrowedServer` leaves methods out. What they do not change goes to the server behind. Whoever
is refused is in the audit trail, and now and then in the log.

Invariants: names are compared when a call begins, so one tunnel is one comparison and its calls are
none; a name counts as what the certificate says it is, so that no DNS name passes for a URI.
"""

import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

import grpc

from linkspan_session.auditing import audit
from linkspan_session.peers import told_of
from linkspan_tracing.rarely import RareWarning

logger = logging.getLogger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_PEER_KINDS: Final = ("peer_dns", "peer_ip")
_PEER_URI: Final = "peer_uri"
"""gRPC's names for what a certificate of the other side holds; see its `grpc_security_constants.h`."""


class ServerShell(grpc.aio.Server):
    """Hands everything on."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """Add handlers that say themselves what they handle."""
        self._server.add_generic_rpc_handlers(tuple(generic_rpc_handlers))

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """Add the handlers of a service by the names of its methods."""
        self._server.add_registered_method_handlers(service_name, dict(method_handlers))

    def add_insecure_port(self, address: str) -> int:
        """Listen on an address; returns the port."""
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """Listen on an address with TLS; returns the port."""
        return self._server.add_secure_port(address, server_credentials)

    async def start(self) -> None:
        """Begin to serve."""
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        """Stop serving; calls may run on for `grace` seconds."""
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - grpc.aio's own
        """Wait until the server has stopped; returns whether that took longer than `timeout`."""
        return await self._server.wait_for_termination(timeout)


class NarrowedServer(ServerShell):
    """Takes only some methods of the services that are added to it; the others are UNIMPLEMENTED."""

    def __init__(self, server: grpc.aio.Server, methods: Collection[str]) -> None:
        """Stand before a server.

        Args:
            server: The server.
            methods: The names of the methods that it is to have, without their service.
        """
        super().__init__(server)
        self._methods = frozenset(methods)

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """Add nothing: a handler of all methods cannot be narrowed. Generated code adds both kinds."""

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """Add those of the handlers whose methods are wanted; the others are refused."""
        wanted = {
            name: handler if name in self._methods else _guarded(handler, name, _WRONG_DOOR)
            for name, handler in method_handlers.items()
        }
        super().add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service_name, wanted),)
        )
        super().add_registered_method_handlers(service_name, wanted)


class GuardedServer(ServerShell):
    """Refuses callers whose certificate holds none of the names that are let in."""

    def __init__(self, server: grpc.aio.Server, names: Collection[str]) -> None:
        """Stand before a server that demands certificates.

        Args:
            server: The server, with nothing added to it yet.
            names: Who is let in: DNS names, IP addresses, and URIs.
        """
        super().__init__(server)
        self._gate = _Gate(_checking(names), _refuse_unnamed)

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """Add handlers that say themselves what they handle."""
        super().add_generic_rpc_handlers(
            tuple(_Guarded(each, self._gate) for each in generic_rpc_handlers)
        )

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """Add the handlers of a service by the names of its methods."""
        super().add_registered_method_handlers(
            service_name,
            {name: _guarded(each, name, self._gate) for name, each in method_handlers.items()},
        )


def is_named(names: Collection[bytes], identities: Mapping[str, Iterable[bytes]]) -> bool:
    """Tell whether a certificate holds one of some names.

    Args:
        names: DNS names, IP addresses and URIs; what has `://` in it is a URI.
        identities: What gRPC tells of a connection, by kind.
    """
    if any(b"://" in uri and uri in names for uri in identities.get(_PEER_URI, ())):
        return True
    return any(
        b"://" not in name and name in names
        for kind in _PEER_KINDS
        for name in identities.get(kind, ())
    )


_Check: TypeAlias = Callable[[Context], bool]


def _checking(names: Collection[str]) -> _Check:
    known = frozenset(name.encode() for name in names)
    return lambda context: is_named(known, context.auth_context())


class _Gate(NamedTuple):
    """Who may call, and what is done about the others."""

    check: _Check
    refuse: Callable[[str, Context], Awaitable[NoReturn]]
    """Takes the method's name; ends the call."""


_unnamed: Final = RareWarning(logger)
_misled: Final = RareWarning(logger)


async def _refuse_unnamed(method: str, context: Context) -> NoReturn:
    who = told_of(context)
    _unnamed.warn(
        "%s called %s and was refused: its certificate, of %s, holds none of the names in "
        "--tls-peers or --tls-admin-peers",
        who["client_address"],
        method,
        who["peer_name"] or "nobody",
    )
    if audit.trail is not None:
        audit.turned_away("peer_not_named", method, context)
    await context.abort(
        grpc.StatusCode.PERMISSION_DENIED,
        "the names in this certificate are none that this session server lets in",
    )


async def _refuse_here(method: str, context: Context) -> NoReturn:
    _misled.warn(
        "%s called %s and was refused: that is to be had at --admin-address alone",
        told_of(context)["client_address"],
        method,
    )
    if audit.trail is not None:
        audit.turned_away("wrong_door", method, context)
    # In gRPC's own words for a method that is not there.
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


def _nobody(_context: Context) -> bool:
    return False


_WRONG_DOOR: Final = _Gate(_nobody, _refuse_here)


class _Guarded(grpc.GenericRpcHandler):
    def __init__(self, handlers: grpc.GenericRpcHandler, gate: _Gate) -> None:
        self._handlers = handlers
        self._gate = gate

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        handler: Handler | None = self._handlers.service(handler_call_details)
        if handler is None:
            return None
        method = str(handler_call_details.method).rpartition("/")[2]
        return _guarded(handler, method, self._gate)


def _guarded(handler: Handler, method: str, gate: _Gate) -> Handler:
    """Return a handler of the same kind that asks before it runs."""
    given: Any = handler
    kind = (
        f"{'stream' if given.request_streaming else 'unary'}_"
        f"{'stream' if given.response_streaming else 'unary'}"
    )
    function: Callable[..., Any] = getattr(given, kind)
    check, refuse = gate

    async def run(request: Any, context: Context) -> Any:
        if not check(context):
            await refuse(method, context)
        return await function(request, context)

    async def generate(request: Any, context: Context) -> Any:
        if not check(context):
            await refuse(method, context)
        async for response in function(request, context):
            yield response

    make: Callable[..., Handler] = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(
        generate if inspect.isasyncgenfunction(function) else run,
        given.request_deserializer,
        given.response_serializer,
    )
