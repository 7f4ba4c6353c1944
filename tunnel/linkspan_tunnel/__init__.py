"""Many RPCs over one long-lived stream of gRPC: a channel for stubs, and a server for servicers."""

from linkspan_tunnel.channel import TunnelChannel
from linkspan_tunnel.errors import NotBegunError
from linkspan_tunnel.handling import TunnelCallDetails
from linkspan_tunnel.limits import TunnelLimits
from linkspan_tunnel.server import SERVICE_NAME, TunnelServer
from linkspan_tunnel.stub_calls import TunnelUnaryStreamCall

__all__ = [
    "SERVICE_NAME",
    "NotBegunError",
    "TunnelCallDetails",
    "TunnelChannel",
    "TunnelLimits",
    "TunnelServer",
    "TunnelUnaryStreamCall",
]
