"""The ways to session servers: one channel that spreads calls over all of them, and one to each.

Above lie `owners`, `sends` and `readiness`; below lies gRPC, with the caller's trace context put
into the metadata of each call. Calls to one server share a tunnel while there is one. Which server a
call goes to by placement is a hint, never ownership: gRPC's ring hash picks it by the routing key in
the call's metadata, and a call without a key goes to any that is connected.

Invariants: a server that cannot be reached costs a call by placement at most one attempt to connect
to it; a server that is silent on an open connection is given up within 3.5 seconds.

Sources: https://github.com/grpc/proposal/blob/master/A42-xds-ring-hash-lb-policy.md and
A76-ring-hash-improvements.md there.
"""

import asyncio
import hashlib
import json
import os
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypedDict
from urllib.parse import quote

import grpc
from opentelemetry.metrics import MeterProvider

from linkspan.session.v1 import session_service_pb2
from linkspan.session.v1.session_service_pb2_grpc import SessionServiceStub
from linkspan_contract.limits import MAX_GRPC_MESSAGE_BYTES
from linkspan_process.tls.channels import open_channel
from linkspan_process.tls.watching import TlsFiles
from linkspan_propagation import ClientOptions, contrib_client_interceptors, traced_channel
from linkspan_tunnel import NotBegunError, TunnelChannel, TunnelLimits

if TYPE_CHECKING:
    from linkspan.session.v1.session_service_pb2_grpc import SessionServiceAsyncStub

Stub: TypeAlias = "SessionServiceAsyncStub"

ROUTING_KEY: Final = "linkspan-routing-key"
"""The metadata key that says which calls belong together, for whoever picks a session server."""

_MAX_ROUTING_KEY_CHARS: Final = 256
_PRINTABLE: Final = "!#$&'()*+,/:;=?@[]"

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_BYTES),
    # A session server that comes back is found in a fraction of a second, not in gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # How long one attempt may take, in spite of its name: short of this, a busy machine looks dead.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 250),
    # A stopped process keeps its connections: it is noticed by what does not come back. gRPC answers
    # pings on threads of its own, so a server whose Python is busy is not taken for a stopped one.
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 1500),
    ("grpc.http2.ping_timeout_ms", 1500),  # the one that governs
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)

_TUNNEL_LIMITS: Final = TunnelLimits(
    max_receive_message_bytes=MAX_GRPC_MESSAGE_BYTES,
    max_send_message_bytes=MAX_GRPC_MESSAGE_BYTES,
)

_HASH_KEY_SWITCH: Final = "GRPC_EXPERIMENTAL_RING_HASH_SET_REQUEST_HASH_KEY"
"""Has gRPC read `requestHashHeader`; without it, every call through the policy fails."""

_SERVICE_CONFIG: Final = json.dumps(
    {
        "loadBalancingConfig": [
            {
                "ring_hash_experimental": {
                    "minRingSize": 1024,
                    "maxRingSize": 4096,
                    "requestHashHeader": ROUTING_KEY,
                }
            }
        ]
    }
)

_PLACEMENT_OPTIONS: Final = (
    *_CHANNEL_OPTIONS,
    ("grpc.service_config", _SERVICE_CONFIG),
    # A service config of the DNS would replace ours.
    ("grpc.service_config_disable_resolution", 1),
    # New servers behind a name are looked for within a second of a failure, not within thirty.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
)

_SESSION_METHODS: Final = (
    f"/{session_service_pb2.DESCRIPTOR.services_by_name['SessionService'].full_name}/"
)

_NEVER_SENT: Final = (
    "ring hash cannot find a connected endpoint",
    "failed to connect to all addresses",
    "errors resolving ",
    "DNS resolution failed",
    "empty address list",
)
"""How gRPC's words begin when a call fails that no server was picked for."""

_FAILED_STATES: Final = (
    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
    grpc.ChannelConnectivity.SHUTDOWN,
)


class Ways(TypedDict, total=False):
    """What all ways to session servers have in common; see `open_placement`."""

    contrib: bool
    meter_provider: MeterProvider | None
    tls: TlsFiles | None
    server_name: str


class _Call(Protocol):
    """Any call of grpc.aio."""

    def add_done_callback(self, callback: Any) -> None:
        """Have `callback` called with the call once it has ended."""
        ...


class Route:
    """A channel, the tunnel through it, and the stubs over both."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        tunnels: bool = False,
        traces: bool = True,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        """Make a route; connects when it is used.

        Args:
            channel: The channel.
            tunnels: Whether calls go through a tunnel while there is one: all to the same server.
            traces: Whether the trace context is put into calls here; else the channel does it.
            meter_provider: Where it is recorded how long calls take; None for nowhere.
        """
        self.channel = channel
        options: ClientOptions = {
            "metrics": meter_provider is not None,
            "meter_provider": meter_provider,
        }
        self._plain: Stub = SessionServiceStub(
            traced_channel(channel, **options) if traces else channel
        )
        self._tunnel = TunnelChannel(channel, limits=_TUNNEL_LIMITS) if tunnels else None
        self._through: Stub = (
            self._plain
            if self._tunnel is None
            else SessionServiceStub(traced_channel(self._tunnel, **options))
        )
        self.users = 0
        """How many calls, and waits for a connection, are under way."""
        self.used_at = 0.0
        """When it was last used, on the monotonic clock."""

    @property
    def stub(self) -> Stub:
        """The stub to call: through the tunnel, or plainly while there is none."""
        return self._through if self.has_tunnel() else self._plain

    def has_tunnel(self) -> bool:
        """Tell whether there is a tunnel; begins to open one if there is none."""
        tunnel = self._tunnel
        if tunnel is None:
            return False
        return tunnel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

    def is_ready(self) -> bool:
        """Tell whether there is a connection; begins to connect if there is none."""
        return self.channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

    async def connect(self, *, within_seconds: float) -> bool:
        """Tell whether there is a connection, or one can be made in time.

        It counts once HTTP/2 is spoken on it: the kernel alone, in the name of a process that is
        stopped, does not do that. An attempt that has just failed is not waited to be repeated.
        """
        self.users += 1
        try:
            async with asyncio.timeout(within_seconds):
                while not self.is_ready():
                    state = self.channel.get_state()
                    if state in _FAILED_STATES:
                        return False
                    await self.channel.wait_for_state_change(state)
        except TimeoutError:
            return False
        finally:
            self._release()
        return True

    def hold(self, call: _Call) -> None:
        """Count a call as under way until it has ended."""
        self.users += 1
        call.add_done_callback(self._release)

    async def close(self) -> None:
        """End all calls and close the channel."""
        await (self._tunnel or self.channel).close()

    def _release(self, _call: object = None) -> None:
        self.users -= 1
        self.used_at = time.monotonic()


def open_placement(
    target: str,
    *,
    contrib: bool = False,
    meter_provider: MeterProvider | None = None,
    tls: TlsFiles | None = None,
    server_name: str = "",
) -> Route:
    """Open the way to all session servers behind a gRPC target; connects when it is used.

    Args:
        target: The target.
        contrib: Whether opentelemetry-instrumentation-grpc traces the calls.
        meter_provider: Where it is recorded how long calls take; contrib does not.
        tls: Who this worker is, as it is now; None for no TLS.
        server_name: As for `open_channel`.
    """
    os.environ[_HASH_KEY_SWITCH] = "true"
    if contrib:
        return _contrib_route(target, _PLACEMENT_OPTIONS, tls, server_name)
    channel = open_channel(target, tls, server_name=server_name, options=_PLACEMENT_OPTIONS)
    return Route(channel, meter_provider=meter_provider)


def open_owner(
    address: str,
    *,
    contrib: bool = False,
    meter_provider: MeterProvider | None = None,
    tls: TlsFiles | None = None,
    server_name: str = "",
) -> Route:
    """Open the way to the one session server at an address; connects when it is used.

    Args:
        address: The address.
        contrib: As for `open_placement`; then there is no tunnel, whose calls it could not see.
        meter_provider: As for `open_placement`.
        tls: As for `open_placement`.
        server_name: As for `open_placement`.
    """
    if contrib:
        return _contrib_route(address, _CHANNEL_OPTIONS, tls, server_name)
    channel = open_channel(address, tls, server_name=server_name, options=_CHANNEL_OPTIONS)
    return Route(channel, tunnels=True, meter_provider=meter_provider)


def _contrib_route(
    target: str, options: tuple[tuple[str, object], ...], tls: TlsFiles | None, server_name: str
) -> Route:
    interceptors = contrib_client_interceptors(record=_is_of_sessions)
    channel = open_channel(
        target, tls, server_name=server_name, options=options, interceptors=interceptors
    )
    return Route(channel, traces=False)


def _is_of_sessions(full_method: str) -> bool:
    return full_method.startswith(_SESSION_METHODS)


def routed(key: str) -> tuple[tuple[str, str], ...]:
    """Write a routing key as metadata: percent-encoded, or as its digest if that is too long."""
    if not key:
        return ()
    value = quote(key, safe=_PRINTABLE)
    if len(value) > _MAX_ROUTING_KEY_CHARS:
        value = hashlib.sha256(value.encode()).hexdigest()
    return ((ROUTING_KEY, value),)


def was_never_sent(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether a call failed before any server was picked for it: then nothing has begun.

    A tunnel knows; gRPC tells it in words only. A server's own status may have any words, but ours
    have trailing metadata with them; whatever is not known for sure counts as sent.
    """
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        return False
    return isinstance(error, NotBegunError) or (
        not error.trailing_metadata() and (error.details() or "").startswith(_NEVER_SENT)
    )
