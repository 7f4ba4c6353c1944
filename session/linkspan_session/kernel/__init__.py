"""The MCP SDK's kernel, driven without a transport: the one room that touches what may change.

Above lies `live`, which owns a session's calls; below lies the SDK, whose `ServerRunner` runs one
handler for one message. One server object serves all sessions; what differs between them is the
`Connection`. Pinned to the SDK's minor version, because `Connection`, `ServerRunner` and
`DispatchContext` may change in the next.
"""

from linkspan_session.kernel.apps import (
    App,
    bind_request_state,
    lowlevel_server,
    share_request_state_key,
)
from linkspan_session.kernel.call import Call
from linkspan_session.kernel.connections import (
    client_of,
    handshake_of,
    has_priming_events,
    scratch_of,
)
from linkspan_session.kernel.hosted import HostedServer, hosting
from linkspan_session.kernel.measured import MeasuredServer

__all__ = [
    "App",
    "Call",
    "HostedServer",
    "MeasuredServer",
    "bind_request_state",
    "client_of",
    "handshake_of",
    "has_priming_events",
    "hosting",
    "lowlevel_server",
    "scratch_of",
    "share_request_state_key",
]
