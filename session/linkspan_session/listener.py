"""The ports of a session server, taken before anything is ready to answer on them.

Above lie `server` and `serving`; below lie `server_shells` and gRPC. The kernel lets callers
connect from here on; gRPC speaks to them once the server is started.
"""

import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import grpc
from opentelemetry.metrics import MeterProvider

from linkspan.session.v1 import session_service_pb2 as service
from linkspan_contract.limits import MAX_GRPC_MESSAGE_BYTES
from linkspan_process.errors import StartError
from linkspan_process.ports import address_of, check_port, split_address
from linkspan_process.tls.channels import server_credentials
from linkspan_process.tls.watching import TlsFiles
from linkspan_process.unix_sockets import check_socket, is_unix, private
from linkspan_propagation import contrib_server_interceptor, traced_server
from linkspan_session.exposure import ExposureConfig
from linkspan_session.server_shells import GuardedServer, NarrowedServer
from linkspan_tunnel import TunnelCallDetails, TunnelLimits, TunnelServer

SERVICE_NAME: Final = service.DESCRIPTOR.services_by_name["SessionService"].full_name

SPAN_NAMES: Final = {
    f"/{SERVICE_NAME}/Init": "McpSession.init",
    f"/{SERVICE_NAME}/HandleRequest": "McpSession.handleRequest",
}
"""What the spans of these methods are called, for dashboards that know them by these names."""

FOR_WORKERS: Final = ("Init", "HandleRequest")
"""The methods that workers call; where operators have an address of their own, the others are there."""

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

_TLS_OPTIONS: Final = (
    *_CHANNEL_OPTIONS,
    # Whoever connects and proves nothing is cut off; gRPC's own patience is two minutes.
    ("grpc.server_handshake_timeout_ms", 10_000),
)

_TUNNEL_LIMITS: Final = TunnelLimits(
    max_receive_message_bytes=MAX_GRPC_MESSAGE_BYTES,
    max_send_message_bytes=MAX_GRPC_MESSAGE_BYTES,
    max_calls=100_000,  # a stream that a client listens on is one
)

_ELSEWHERE: Final = ("192.0.2.1", 9)
"""An address that is not of this machine (RFC 5737)."""


@dataclass(frozen=True, slots=True)
class Door:
    """An address and a server behind it that is not started.

    Attributes:
        server: The server.
        sessions: The same one as the session service is to be added to: its calls carry trace
            context, and come plainly or through tunnels.
        address: Where it listens, as `host:port` or `unix:/path`.
        advertised: Where others reach it, in the same forms.
    """

    server: grpc.aio.Server
    sessions: grpc.aio.Server
    address: str
    advertised: str


@dataclass(frozen=True, slots=True)
class Listener:
    """The addresses of a session server.

    Attributes:
        main: Where workers call.
        admin: Where operators call; None if that is the same.
    """

    main: Door
    admin: Door | None = None

    @property
    def name(self) -> str:
        """Where others reach this server, as it stands before `#` in the name of each run of it."""
        return self.main.advertised

    @property
    def admin_mark(self) -> str:
        """What comes after the name of a run: `@` and where operators reach it, if that differs."""
        return "" if self.admin is None else f"@{self.admin.advertised}"


def listen(
    host: str,
    port: int,
    *,
    advertise: str,
    exposure: ExposureConfig | None = None,
    tls: TlsFiles | None = None,
    captured: frozenset[str] = frozenset(),
    contrib: bool = False,
    meter_provider: MeterProvider | None = None,
) -> Listener:
    """Take the ports.

    Args:
        host: An address of this machine, or of all of them, or `unix:/path`.
        port: The port; 0 takes a free one. Means nothing for a socket.
        advertise: Where others reach it; empty for where it listens.
        exposure: Who reaches it; None for what settings say that nobody gave.
        tls: Who this process is; None for no TLS.
        captured: The metadata of callers whose values spans tell; not with `contrib`.
        contrib: Whether opentelemetry-instrumentation-grpc traces the calls, and there are no
            tunnels, whose calls it could not see.
        meter_provider: Where it is recorded how long calls take; None for nowhere.

    Raises:
        StartError: An address cannot be had, or nobody could reach it.
    """
    exposure = exposure or ExposureConfig()

    def open_door(
        host: str, port: int, advertise: str, peers: Collection[str], *, narrow: bool, flag: str
    ) -> Door:
        secure = None if is_unix(host) else tls

        def guard(server: grpc.aio.Server) -> grpc.aio.Server:
            return GuardedServer(server, peers) if peers and secure is not None else server

        options = _CHANNEL_OPTIONS if secure is None else _TLS_OPTIONS
        server, sessions = _make_server(guard, options, captured, contrib, meter_provider)
        if narrow:
            sessions = NarrowedServer(sessions, FOR_WORKERS)
        address = _take(server, host, port, secure, int(exposure.socket_mode, 8), flag)
        return Door(server, sessions, address, advertise or _reachable(address))

    apart = bool(exposure.admin_address)
    main = open_door(host, port, advertise, exposure.tls_peers, narrow=apart, flag="--port")
    if not apart:
        return Listener(main)
    address = exposure.admin_address
    where = (address, 0) if is_unix(address) else split_address(address)
    peers = exposure.tls_admin_peers or exposure.tls_peers
    return Listener(main, open_door(*where, "", peers, narrow=False, flag="--admin-address"))


def _make_server(
    guard: Callable[[grpc.aio.Server], grpc.aio.Server],
    options: tuple[tuple[str, int], ...],
    captured: frozenset[str],
    contrib: bool,
    meter_provider: MeterProvider | None,
) -> tuple[grpc.aio.Server, grpc.aio.Server]:
    """Make a server; returns it, and it as the session service is to be added to."""
    if contrib:
        interceptor = contrib_server_interceptor(record=_is_ours)
        server = guard(grpc.aio.server(options=options, interceptors=[interceptor]))
        return server, server
    server = guard(grpc.aio.server(options=options))
    sessions = traced_server(
        TunnelServer(server, limits=_TUNNEL_LIMITS),
        span_names=SPAN_NAMES,
        record=_is_ours,
        traceresponse=_is_plain,
        request_metadata=captured,
        metrics=meter_provider is not None,
        meter_provider=meter_provider,
    )
    return server, sessions


def _take(
    server: grpc.aio.Server,
    host: str,
    port: int,
    tls: TlsFiles | None,
    socket_mode: int,
    flag: str,
) -> str:
    """Have a server listen; returns where."""
    # gRPC itself would not say why it cannot have an address.
    try:
        if is_unix(host):
            check_socket(host, flag="--host" if flag == "--port" else flag)
            with private(host, socket_mode):
                server.add_insecure_port(host)
            return host
        check_port(host, port, flag=flag)
        where = address_of(host, port)
        if tls is None:
            return address_of(host, server.add_insecure_port(where))
        return address_of(host, server.add_secure_port(where, server_credentials(tls)))
    except (RuntimeError, OSError) as error:
        raise StartError(f"cannot serve on {host}: {error}; choose another with {flag}") from None


def _is_ours(full_method: str) -> bool:
    return full_method.startswith(f"/{SERVICE_NAME}/")


def _is_plain(details: grpc.HandlerCallDetails) -> bool:
    """Tell whether a call may be a person's, who wants to know which trace it is."""
    return not isinstance(details, TunnelCallDetails)


def _reachable(address: str) -> str:
    """Return the address at which others reach what is served on all addresses of this machine."""
    if is_unix(address):
        return address
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
