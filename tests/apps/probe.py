"""A server for tests: handlers that wait, are stubborn, raise, answer nonsense or talk too much.

A low-level `Server`, whose methods are its own, so that nothing of the SDK's tools stands between a
handler and the host. What a handler lives through is marked under the `name` that it was called
with, and `probe/seen` waits for such a mark: tests need not guess when something has happened.
"""

import asyncio
import math
import sys
from collections import defaultdict
from typing import Any

from mcp.server import ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import RequestParams

Context = ServerRequestContext[Any]


class Named(RequestParams):
    """Which call is meant; a test gives each its own name."""

    name: str


class Seen(Named):
    """What to wait for: `started`, `cancelled`, `finished` or `released`."""

    mark: str


class Kind(RequestParams):
    """Which way to go wrong."""

    kind: str


class Talk(RequestParams):
    """How often to say something."""

    count: int


class Say(RequestParams):
    """What to say."""

    text: str


server: Server[Any] = Server("probe", version="1.0")

_marks: defaultdict[tuple[str, str], asyncio.Event] = defaultdict(asyncio.Event)


async def hold(ctx: Context, params: Named) -> dict[str, Any]:
    """Wait until released; a cancelled call ends at once."""
    _marks[params.name, "started"].set()
    try:
        await _marks[params.name, "released"].wait()
    except asyncio.CancelledError:
        _marks[params.name, "cancelled"].set()
        raise
    _marks[params.name, "finished"].set()
    return {"held": params.name}


async def stubborn(ctx: Context, params: Named) -> dict[str, Any]:
    """Wait until released, whoever cancels."""
    _marks[params.name, "started"].set()
    while not _marks[params.name, "released"].is_set():
        try:
            await _marks[params.name, "released"].wait()
        except asyncio.CancelledError:
            _marks[params.name, "cancelled"].set()
    _marks[params.name, "finished"].set()
    return {"held": params.name}


async def seen(ctx: Context, params: Seen) -> dict[str, Any]:
    """Wait for a mark."""
    await _marks[params.name, params.mark].wait()
    return {}


async def is_marked(ctx: Context, params: Seen) -> dict[str, Any]:
    """Tell whether there is a mark."""
    return {"marked": _marks[params.name, params.mark].is_set()}


async def release(ctx: Context, params: Named) -> dict[str, Any]:
    """Let a waiting call go on."""
    _marks[params.name, "released"].set()
    return {}


async def say(ctx: Context, params: Say) -> dict[str, Any]:
    """Return the text."""
    return {"text": params.text}


async def talk(ctx: Context, params: Talk) -> dict[str, Any]:
    """Report progress many times."""
    for number in range(params.count):
        await ctx.session.report_progress(number, params.count)
    return {"told": params.count}


async def ask(ctx: Context, params: Say) -> dict[str, Any]:
    """Ask the user of the client, on the stream of this call."""
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    answer = await ctx.session.elicit_form(
        params.text,
        schema,
        related_request_id=ctx.request_id,
    )
    return {"action": answer.action}


async def ask_outside(ctx: Context, params: Say) -> dict[str, Any]:
    """Ask the user of the client, on the listening stream."""
    answer = await ctx.session.elicit_form(params.text, {"type": "object", "properties": {}})
    return {"action": answer.action}


async def announce(ctx: Context, params: Say) -> dict[str, Any]:
    """Tell the session outside of any call that a resource has changed."""
    await ctx.session.send_resource_updated(params.text)
    return {}


async def whoami(ctx: Context, params: RequestParams) -> dict[str, Any]:
    """Tell what the handler knows of its client."""
    client = ctx.session.client_params
    return {
        "client": client.client_info.name if client else None,
        "version": ctx.protocol_version,
    }


def deep(levels: int) -> dict[str, Any]:
    """Nest objects."""
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"deep": value}
    return value


async def go_wrong(ctx: Context, params: Kind) -> dict[str, Any]:
    """Fail, or answer with what is no answer."""
    match params.kind:
        case "raise":
            raise ValueError("the password is swordfish")
        case "exit":
            sys.exit("the password is swordfish")
        case "cancel-itself":
            raise asyncio.CancelledError
        case "nan":
            return {"number": math.nan}
        case "object":
            return {"object": object()}
        case "deep":
            return deep(100_000)
        case "surrogate":
            return {"text": "\ud800"}
        case "error-code":
            raise MCPError(code=2**40, message="the password is swordfish")
        case "too-large":
            return {"text": "x" * (65 * 1024 * 1024)}
        case other:
            raise MCPError(code=-32602, message=f"unknown kind {other}")


async def on_initialize(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Refuse or hold the handshake of clients that are called so."""
    if ctx.method == "initialize":
        client: dict[str, Any] = (ctx.params or {}).get("clientInfo") or {}
        name = str(client.get("name"))
        if name == "refuse me":
            raise MCPError(code=-32000, message="not today")
        if name.startswith("hold "):
            await hold(ctx, Named(name=name))
    return await call_next(ctx)


server.add_request_handler("probe/hold", Named, hold)
server.add_request_handler("probe/stubborn", Named, stubborn)
server.add_request_handler("probe/seen", Seen, seen)
server.add_request_handler("probe/is_marked", Seen, is_marked)
server.add_request_handler("probe/release", Named, release)
server.add_request_handler("probe/say", Say, say)
server.add_request_handler("probe/talk", Talk, talk)
server.add_request_handler("probe/ask", Say, ask)
server.add_request_handler("probe/ask_outside", Say, ask_outside)
server.add_request_handler("probe/announce", Say, announce)
server.add_request_handler("probe/whoami", RequestParams, whoami)
server.add_request_handler("probe/go_wrong", Kind, go_wrong)
server.middleware.append(on_initialize)
