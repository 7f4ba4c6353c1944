"""The official MCP Python client, in a process of its own, doing what the trace guard watches.

Run as `python client.py ADDRESS MODE`. Each thing it does is a span of its own, `do NAME`, so that
the exported traces say what they are about. Prints one JSON line and exits with 0. Where its spans
go is said by the standard `OTEL_*` variables.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import cast

import httpx2
from mcp import Client, MCPError
from opentelemetry import trace

from linkspan_propagation import inject_into_fields, set_up_telemetry

SESSIONS = 20
CALLS_A_SESSION = 10

tracer = trace.get_tracer("client")


async def do(name: str, work: Callable[[], Awaitable[object]]) -> object:
    """Run `work` in a span of its own."""
    with tracer.start_as_current_span(f"do {name}"):
        return await work()


async def watch(address: str) -> dict[str, object]:
    """Do each kind of thing once, and return what came of it."""
    seen: dict[str, object] = {}
    async with AsyncExitStack() as stack:
        client = Client(address, mode="legacy")
        await do("initialize", lambda: stack.enter_async_context(client))
        seen["list"] = "add" in cast("list[str]", await do("list", lambda: list_tools(client)))
        seen["cancel"] = await do("cancel", lambda: cancelled_call(client))
        seen["add"] = await do("add", lambda: text_of(client, "add", {"a": 2, "b": 3}))
        seen["fail"] = await do("fail", lambda: text_of(client, "fail", {"message": "no"}))
    async with httpx2.AsyncClient(timeout=30) as http:
        known = await open_session(http, address)
        for name, method, session_id in (
            ("unknown-session", "tools/list", "there-is-no-such-session"),
            ("unknown-method", "no/such/method", known),
        ):
            post_it = partial(post, http, address, method, session_id)
            seen[name] = await do(name, post_it)
    return seen


async def list_tools(client: Client) -> list[str]:
    """List the tools' names."""
    return [tool.name for tool in (await client.list_tools()).tools]


async def text_of(client: Client, tool: str, arguments: dict[str, object]) -> str:
    """Call a tool and return its first text."""
    result = await client.call_tool(tool, arguments)
    (first, *_) = result.content
    return str(getattr(first, "text", ""))


async def cancelled_call(client: Client) -> str:
    """Begin a call that takes long and give it up when it has begun."""
    begun = asyncio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        begun.set()

    arguments = {"to": 1000, "every_seconds": 0.1}
    call = asyncio.create_task(client.call_tool("count", arguments, progress_callback=on_progress))
    await begun.wait()
    call.cancel()
    try:
        await call
    except asyncio.CancelledError:
        return "cancelled"
    except MCPError as error:
        return error.message
    return "finished"


async def open_session(http: httpx2.AsyncClient, address: str) -> str:
    """Open a session by hand and return its id."""
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "by-hand", "version": "1"},
    }
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    response = await http.post(address, json=message)
    return response.headers["mcp-session-id"]


async def post(http: httpx2.AsyncClient, address: str, method: str, session_id: str) -> list[int]:
    """Post a request by hand and return the HTTP status and the JSON-RPC error code."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method}
    headers = {"mcp-session-id": session_id, **inject_into_fields()}
    response = await http.post(address, json=message, headers=headers)
    return [response.status_code, response.json()["error"]["code"]]


async def crowd(address: str) -> dict[str, object]:
    """Run many calls at once, over many sessions, and count the right answers."""

    async def call(client: Client, text: str) -> bool:
        with tracer.start_as_current_span("do echo"):
            return await text_of(client, "echo", {"text": text}) == text

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(Client(address, mode="legacy")) for _ in range(SESSIONS)
        ]
        for client in clients:
            await list_tools(client)  # else the first call of each tool lists them, too
        right = await asyncio.gather(
            *(
                call(client, f"{session}-{number}")
                for session, client in enumerate(clients)
                for number in range(CALLS_A_SESSION)
            )
        )
    return {"right": sum(right)}


async def modern(address: str) -> dict[str, object]:
    """Call a tool and give one up, in the era without sessions."""
    seen: dict[str, object] = {}
    async with Client(address, mode="2026-07-28") as client:
        await list_tools(client)  # else the first call of each tool lists them, too
        seen["cancel"] = await do("cancel", lambda: cancelled_call(client))
        seen["add"] = await do("add", lambda: text_of(client, "add", {"a": 2, "b": 3}))
    return seen


def main() -> None:
    """Do what the command line says and print what came of it."""
    telemetry = set_up_telemetry("client", service_version="0", environ=os.environ)
    address, mode = sys.argv[1:]
    actions = {"watch": watch, "crowd": crowd, "modern": modern}
    print(json.dumps(asyncio.run(actions[mode](address))), flush=True)
    telemetry.shut_down(30)


if __name__ == "__main__":
    main()
