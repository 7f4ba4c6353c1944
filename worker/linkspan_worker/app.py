"""The application behind HTTP: which path goes where."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from linkspan_worker.endpoint import McpEndpoint
from linkspan_worker.headers import Headers
from linkspan_worker.http import HttpExchange
from linkspan_worker.reply import Reply
from linkspan_worker.session_client import SessionClient

MCP_PATH: Final = "/mcp"
MCP_PATHS: Final = (MCP_PATH, MCP_PATH + "/")

_READY_TIMEOUT_SECONDS: Final = 1.0

_WELL_KNOWN: Final = "/.well-known/"
"""What clients look up before they call, in a browser, too; so its answers are for pages (RFC 8615)."""

_PUBLIC: Final = (("cache-control", "public, max-age=300"),)
_READING: Final = (("allow", "GET, HEAD, OPTIONS"),)

_NOT_READY: Final = "no session server is ready: none answers, or their store does not"


class WorkerApp:
    """`/mcp` for clients, `/healthz` and `/readyz` for whoever runs the worker."""

    def __init__(
        self,
        endpoint: McpEndpoint,
        sessions: SessionClient,
        documents: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Make the application.

        Args:
            endpoint: Answers MCP.
            sessions: The way to the session servers, to ask whether they are ready.
            documents: JSON that is served to whoever asks, by path.
        """
        self._documents = documents
        self._endpoint = endpoint
        self._sessions = sessions
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Say not ready, and end what would not end by itself."""
        self._draining.set()
        self._endpoint.drain()

    def give_up(self) -> None:
        """End the calls that have not ended by themselves, with an answer that says so."""
        self._endpoint.give_up()

    def fields_of(self, exchange: HttpExchange) -> str:
        """Write the headers without which the page that sent a request could not read its answer."""
        return self._endpoint.pages.fields(Headers(exchange.headers), exchange.method)

    async def __call__(self, exchange: HttpExchange) -> None:
        """Serve one HTTP request."""
        if exchange.path in MCP_PATHS:
            await self._endpoint(exchange)
            return
        reply = Reply(exchange, stall_seconds=_READY_TIMEOUT_SECONDS)
        if exchange.path.startswith(_WELL_KNOWN):
            exchange.own_fields = self.fields_of(exchange)
            if exchange.method == "OPTIONS":
                await reply.empty(HTTPStatus.NO_CONTENT, _READING)
                return
        match exchange.path:
            case "/healthz":
                await reply.json(HTTPStatus.OK, '{"status":"alive"}')
            case "/readyz":
                await self._say_ready(reply)
            case path if path in self._documents:
                await reply.json(HTTPStatus.OK, self._documents[path], _PUBLIC)
            case _:
                await reply.json(
                    HTTPStatus.NOT_FOUND, f'{{"error":"not found; MCP is served at {MCP_PATH}"}}'
                )

    async def _say_ready(self, reply: Reply) -> None:
        if self._draining.is_set():
            await reply.json(HTTPStatus.SERVICE_UNAVAILABLE, '{"status":"draining"}')
        elif await self._sessions.is_serving(timeout_seconds=_READY_TIMEOUT_SECONDS):
            await reply.json(HTTPStatus.OK, '{"status":"ready"}')
        else:
            await reply.json(HTTPStatus.SERVICE_UNAVAILABLE, f'{{"status":"{_NOT_READY}"}}')
