"""gRPC's channels and ports, with TLS where there is any.

Above lie the services; below lies gRPC. Invariants: who has no certificate is refused at the handshake,
before gRPC looks at any call; a Unix socket carries no TLS, since its file says who may connect. gRPC
takes TLS 1.2 and newer and nothing older.

Source: https://grpc.github.io/grpc/python/grpc.html#grpc.dynamic_ssl_server_credentials
"""

from collections.abc import Callable, Sequence
from typing import cast

import grpc

from linkspan_process.tls.identity import Identity
from linkspan_process.tls.watching import TlsFiles
from linkspan_process.unix_sockets import is_unix


def open_channel(
    target: str,
    tls: TlsFiles | None,
    *,
    server_name: str = "",
    options: Sequence[tuple[str, object]] = (),
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """Open a channel to a target of gRPC; it connects when it is used.

    Args:
        target: The target.
        tls: Who this process is, as it is now: a channel does not change; None for no TLS.
        server_name: The name that a server's certificate must hold if the setting names none;
            empty for the target's host.
        options: More options of gRPC.
        interceptors: What stands before each call.
    """
    if tls is None or is_unix(target):
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    identity = tls.identity
    credentials = grpc.ssl_channel_credentials(identity.ca, identity.key, identity.cert)
    name = tls.config.tls_server_name or server_name
    if name:
        options = (*options, ("grpc.ssl_target_name_override", name))
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)


def server_credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Return what a port shows and asks for; each handshake heeds the files as they are then."""
    shown = tls.identity

    def changed() -> "grpc.ServerCertificateConfiguration | None":
        # In a thread of gRPC's, maybe in several at once: the worst is that one is set twice.
        nonlocal shown
        identity = tls.identity
        if identity is shown:
            return None
        shown = identity
        return _configuration(identity)

    # None means that nothing has changed; the published types do not know.
    fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", changed)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown), fetch, require_client_authentication=True
    )


def _configuration(identity: Identity) -> "grpc.ServerCertificateConfiguration":
    return grpc.ssl_server_certificate_configuration(
        [(identity.key, identity.cert)], root_certificates=identity.ca
    )
