"""The user's server with a watch beside it: how long each request and notification takes.

Above lies `serving`, which hosts with this only where metrics are on; below lies `hosted`, which does
the work, and `operations`, which records. Invariant: what comes of a request is what it would be
without.
"""

import asyncio
import time
from typing import Any, cast

from mcp.server.connection import Connection
from mcp.server.lowlevel import Server

from linkspan_contract.envelope import JsonObject, Request
from linkspan_session.answers import Answer
from linkspan_session.kernel.call import Call
from linkspan_session.kernel.hosted import HostedServer
from linkspan_session.operations import VERSION_KEY, Operations


class MeasuredServer(HostedServer):
    """The user's server, of which is recorded how long it takes."""

    def __init__(
        self, server: Server[Any], lifespan_state: object, *, operations: Operations
    ) -> None:
        """Make it as `HostedServer` is made.

        Args:
            server: The user's server.
            lifespan_state: What its lifespan gave.
            operations: Where it is recorded.
        """
        super().__init__(server, lifespan_state)
        self._operations = operations

    async def answer(self, connection: Connection, call: Call, request: Request) -> Answer:
        """See `HostedServer.answer`; what Linkspan asks on its own behalf is not recorded."""
        if call.is_own:
            return await super().answer(connection, call, request)
        operations, started = self._operations, time.perf_counter()
        answer: Answer | str = "internal"
        operations.running += 1
        try:
            answer = await super().answer(connection, call, request)
            return answer
        except asyncio.CancelledError:
            answer = "cancelled"
            raise
        finally:
            operations.running -= 1
            version = connection.protocol_version
            operations.record(started, request.method, request.params, version, answer)

    async def answer_alone(self, call: Call, request: Request) -> Answer:
        """See `HostedServer.answer_alone`; as above."""
        if call.is_own:
            return await super().answer_alone(call, request)
        operations, started = self._operations, time.perf_counter()
        answer: Answer | str = "internal"
        operations.running += 1
        try:
            answer = await super().answer_alone(call, request)
            return answer
        except asyncio.CancelledError:
            answer = "cancelled"
            raise
        finally:
            operations.running -= 1
            meta: object = (request.params or {}).get("_meta")
            version = cast("JsonObject", meta).get(VERSION_KEY) if isinstance(meta, dict) else None
            operations.record(started, request.method, request.params, version, answer)

    async def hear(
        self, connection: Connection, call: Call, method: str, params: JsonObject | None
    ) -> None:
        """See `HostedServer.hear`."""
        started = time.perf_counter()
        try:
            await super().hear(connection, call, method, params)
        finally:
            version = connection.protocol_version
            self._operations.record(started, method, params, version, None)
