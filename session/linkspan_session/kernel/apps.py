"""The objects that users write their servers as."""

import json
import sys
from typing import Any, TypeAlias, cast

from mcp.server import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import MCPServer
from mcp.server.request_state import (
    RequestStateBoundary,
    RequestStateSecurity,
    authenticated_principal,
)

from linkspan_session.hosting_context import hosting_context

App: TypeAlias = Server[Any]
"""What a user's server comes down to, whatever it was written as."""


def share_request_state_key(server: Server[Any], key: bytes) -> None:
    """Have `requestState` sealed with a key that other session servers have, too.

    Without it a server object seals with a key of its own process, and what one session server
    sealed no other can open. A server object that never seals is left alone.

    Args:
        server: The user's server.
        key: At least 32 bytes, secret.
    """
    middleware = server.middleware
    for index, each in enumerate(middleware):
        if isinstance(each, RequestStateBoundary):
            security = RequestStateSecurity(keys=[key])
            middleware[index] = RequestStateBoundary(security, default_audience=server.name)


def bind_request_state(server: Server[Any]) -> None:
    """Have `requestState` taken back from the principal only that it was handed to.

    The SDK binds it to whom its own transport has authenticated, which is nobody where the transport
    is ours. A server object that binds it in another way is left alone.
    """
    for each in server.middleware:
        if isinstance(each, RequestStateBoundary):
            security = cast("RequestStateSecurity", getattr(each, "_security"))  # noqa: B009 - as below
            if security.bind_principal is authenticated_principal:
                security.bind_principal = _principal_of


def _principal_of(context: ServerRequestContext[Any, Any]) -> str | None:
    hosting = hosting_context()
    if hosting is None:  # somebody else hosts the server in this process
        return authenticated_principal(context)
    principal = hosting.principal
    fields = [principal.issuer, principal.subject, principal.resource]
    return json.dumps(fields) if any(fields) else None


def lowlevel_server(candidate: object) -> Server[Any] | None:
    """Return the server that an object is or wraps; None if it is no MCP server."""
    fastmcp = sys.modules.get("fastmcp")  # if the user has not imported it, it is not theirs
    found: object = None
    if isinstance(candidate, Server):
        found = cast("object", candidate)
    elif isinstance(candidate, MCPServer):
        found = getattr(cast("object", candidate), "_lowlevel_server")  # noqa: B009 - no other way
    elif fastmcp is not None and isinstance(candidate, fastmcp.FastMCP):
        found = getattr(candidate, "_mcp_server")  # noqa: B009 - no other way
    return cast("Server[Any] | None", found)
