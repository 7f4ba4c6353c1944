"""The port of a session server, taken before anything is ready to answer on it.

Above lie `server` and `serving`; below lies gRPC. The kernel lets callers connect from here on; gRPC
speaks to them once the server is started.
"""

import socket
from dataclasses import dataclass
from typing import Final

import grpc
from opentelemetry.metrics import MeterProvider

from linkspan.session.v1 import session_service_pb2 as service
from linkspan_contract.limits import MAX_GRPC_MESSAGE_BYTES
from linkspan_process.errors import StartError
from linkspan_process.ports import address_of, check_port
from linkspan_propagation import contrib_server_interceptor, traced_server
from linkspan_tunnel import TunnelCallDetails, TunnelLimits, TunnelServer

SERVICE_NAME: Final = service.DESCRIPTOR.services_by_name["SessionService"].full_name

SPAN_NAMES: Final = {
    f"/{SERVICE_NAME}/Init": "McpSession.init",
    f"/{SERVICE_NAME}/HandleRequest": "McpSession.handleRequest",
}
"""What the spans of these methods are called, for dashboards that know them by these names."""

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_BYTES),
    # Without this a second server on the same port would start and take half of the calls.
    ("grpc.so_reuseport", 0),
    # Workers ask often whether this server is alive; without these it would hang up on them.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
    # Workers that found this server by a name look again who else has it, now and then.
    ("grpc.max_connection_age_ms", 2 * 60 * 1000),
)

_TUNNEL_LIMITS: Final = TunnelLimits(
    max_receive_message_bytes=MAX_GRPC_MESSAGE_BYTES,
    max_send_message_bytes=MAX_GRPC_MESSAGE_BYTES,
    max_calls=100_000,  # a stream that a client listens on is one
)

_ELSEWHERE: Final = ("192.0.2.1", 9)
"""An address that is not of this machine (RFC 5737)."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A server that has its port and is not started.

    Attributes:
        server: The server.
        sessions: The same one as the session service is to be added to: its calls carry trace
            context, and come plainly or through tunnels.
        address: Where it listens, as `host:port`.
        advertised: Where others reach it, as `host:port`.
    """

    server: grpc.aio.Server
    sessions: grpc.aio.Server
    address: str
    advertised: str


def listen(
    host: str,
    port: int,
    *,
    advertise: str,
    captured: frozenset[str] = frozenset(),
    contrib: bool = False,
    meter_provider: MeterProvider | None = None,
) -> Listener:
    """Take the port.

    Args:
        host: An address of this machine, or of all of them.
        port: The port; 0 takes a free one.
        advertise: Where others reach it; empty for where it listens.
        captured: The metadata of callers whose values spans tell; not with `contrib`.
        contrib: Whether opentelemetry-instrumentation-grpc traces the calls, and there are no
            tunnels, whose calls it could not see.
        meter_provider: Where it is recorded how long calls take; None for nowhere.

    Raises:
        StartError: The port cannot be had, or nobody could reach it.
    """
    if contrib:
        interceptor = contrib_server_interceptor(record=_is_ours)
        server = sessions = grpc.aio.server(options=_CHANNEL_OPTIONS, interceptors=[interceptor])
    else:
        server = grpc.aio.server(options=_CHANNEL_OPTIONS)
        sessions = traced_server(
            TunnelServer(server, limits=_TUNNEL_LIMITS),
            span_names=SPAN_NAMES,
            record=_is_ours,
            traceresponse=_is_plain,
            request_metadata=captured,
            metrics=meter_provider is not None,
            meter_provider=meter_provider,
        )
    check_port(host, port)  # gRPC itself would not say why it cannot have it
    try:
        taken = server.add_insecure_port(address_of(host, port))
    except RuntimeError as error:
        raise StartError(f"cannot serve on port {port}: {error}") from None
    address = address_of(host, taken)
    return Listener(server, sessions, address, advertise or _reachable(address))


def _is_ours(full_method: str) -> bool:
    return full_method.startswith(f"/{SERVICE_NAME}/")


def _is_plain(details: grpc.HandlerCallDetails) -> bool:
    """Tell whether a call may be a person's, who wants to know which trace it is."""
    return not isinstance(details, TunnelCallDetails)


def _reachable(address: str) -> str:
    """Return the address at which others reach what is served on all addresses of this machine."""
    host, _, port = address.rpartition(":")
    if host.strip("[]") not in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return address
    own = _own_address()
    if own is None:
        raise StartError(
            "this machine has no address of its own that others could reach; name one with --advertise"
        )
    return address_of(own, int(port))


def _own_address() -> str | None:
    """Return the address that this machine talks to others from; None if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)  # of a datagram socket: chooses a route and sends nothing
        except OSError:
            return None
        own: str = probe.getsockname()[0]
    return None if own.startswith("127.") else own
