"""Requests whose bytes are not the message that their method takes: the caller's fault, like others.

Above lies `grpc_front`; below lies gRPC, which would log a stack trace for each of them and tell the
caller the class of the exception. Here such bytes become a request that cannot be looked into: the
servicer, which does, fails as with any request that breaks the contract.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

from linkspan_session.errors import InvalidRequestError

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class UnreadableRequest:
    """Stands for a request that could not be read; looking into it raises `InvalidRequestError`."""

    __slots__ = ()

    def __getattr__(self, name: str) -> NoReturn:
        """Fail, whichever field is asked for."""
        raise InvalidRequestError("the bytes of the request are not the message of this method")


_UNREADABLE: Final = UnreadableRequest()


def reading(server: grpc.aio.Server) -> grpc.aio.Server:
    """Return what generated code is to add a servicer to, for its handlers to read as said above."""
    return cast("grpc.aio.Server", _ReadingServer(server))


class _ReadingServer:
    """As much of a server as generated code looks at."""

    def __init__(self, server: grpc.aio.Server) -> None:
        """Stand before a server."""
        self._server = server

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """Add the handlers of a service, by the names of its methods."""
        handlers = {name: _reading(handler) for name, handler in method_handlers.items()}
        generic = grpc.method_handlers_generic_handler(service_name, handlers)
        self._server.add_generic_rpc_handlers((generic,))
        self._server.add_registered_method_handlers(service_name, handlers)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[object]) -> None:
        """Add nothing: generated code hands over the same handlers by their names as well."""


def _reading(handler: Handler) -> Handler:
    """Return a handler that takes whatever comes."""
    kind = f"unary_{'stream' if handler.response_streaming else 'unary'}"
    make: Callable[..., Handler] = getattr(grpc, f"{kind}_rpc_method_handler")
    read = handler.request_deserializer
    if handler.request_streaming or read is None:
        return handler

    def read_or_not(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError:
            return _UNREADABLE

    return make(
        getattr(handler, kind),
        request_deserializer=read_or_not,
        response_serializer=handler.response_serializer,
    )
