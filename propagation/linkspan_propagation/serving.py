"""One line that traces a server, of either kind.

Owns ``traced_server`` and nothing else. Below lie ``served`` (grpc.aio) and ``sync_server``.
"""

from typing import Unpack, overload

import grpc

from linkspan_propagation.options import ServerOptions
from linkspan_propagation.served import traced_aio_server
from linkspan_propagation.sync_server import traced_sync_server


@overload
def traced_server(server: grpc.aio.Server, **options: Unpack[ServerOptions]) -> grpc.aio.Server: ...


@overload
def traced_server(server: grpc.Server, **options: Unpack[ServerOptions]) -> grpc.Server: ...


def traced_server(
    server: grpc.aio.Server | grpc.Server, **options: Unpack[ServerOptions]
) -> grpc.aio.Server | grpc.Server:
    """Return a server that traces the handlers that are added to it; ``server`` does the work.

    Wrap it before handlers are added, and add them to what this returns::

        server = traced_server(grpc.aio.server())
        add_GreeterServicer_to_server(Greeter(), server)

    It does what ``server_interceptor`` (or ``sync_server_interceptor``) does, for less, as no
    interceptor is run. Interceptors that ``server`` has run before it, outside the span. Handlers
    that were given to ``grpc.aio.server(handlers=...)`` are not traced.

    Args:
        server: of ``grpc.aio`` or of ``grpc``, without handlers yet.
        **options: what to record, see ``ServerOptions``.

    Raises:
        MetadataCaptureError: a metadata key is asked for that may not be captured.
    """
    if isinstance(server, grpc.Server):
        return traced_sync_server(server, **options)
    return traced_aio_server(server, **options)
