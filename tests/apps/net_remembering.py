"""A server for tests of waking: it remembers, for each connection, what its client has asked for.

In memory only and by connection, as a server would: whoever wakes a session has to ask again.
"""

from dataclasses import dataclass, field
from typing import Any

from mcp.server import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import (
    EmptyResult,
    InitializeRequestParams,
    RequestParams,
    SetLevelRequestParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)

Context = ServerRequestContext[Any]

server: Server[Any] = Server("remembering", version="1.0")


@dataclass(slots=True)
class Asked:
    """What the client of a connection has asked for."""

    client: InitializeRequestParams
    level: str = ""
    uris: list[str] = field(default_factory=list[str])


_connections: list[Asked] = []


def _asked(ctx: Context) -> Asked:
    client = ctx.session.client_params
    assert client is not None
    for each in _connections:
        if each.client is client:  # the very same: each connection has its own
            return each
    _connections.append(Asked(client))
    return _connections[-1]


async def set_level(ctx: Context, params: SetLevelRequestParams) -> EmptyResult:
    """Remember the level."""
    _asked(ctx).level = params.level
    return EmptyResult()


async def subscribe(ctx: Context, params: SubscribeRequestParams) -> EmptyResult:
    """Remember a subscription."""
    _asked(ctx).uris.append(str(params.uri))
    return EmptyResult()


async def unsubscribe(ctx: Context, params: UnsubscribeRequestParams) -> EmptyResult:
    """Forget a subscription."""
    _asked(ctx).uris.remove(str(params.uri))
    return EmptyResult()


async def remembered(ctx: Context, params: RequestParams) -> dict[str, Any]:
    """Tell all that is known of the client."""
    asked = _asked(ctx)
    return {
        "level": asked.level,
        "uris": sorted(asked.uris),
        "version": ctx.protocol_version,
        "client": asked.client.client_info.name,
        "capabilities": asked.client.capabilities.model_dump(by_alias=True, exclude_none=True),
    }


server.add_request_handler("logging/setLevel", SetLevelRequestParams, set_level)
server.add_request_handler("resources/subscribe", SubscribeRequestParams, subscribe)
server.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, unsubscribe)
server.add_request_handler("net/remembered", RequestParams, remembered)
