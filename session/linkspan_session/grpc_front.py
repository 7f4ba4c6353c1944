"""The gRPC servers before the session host: sessions, health and reflection.

On one port, unless operators have an address of their own: then reflection is there alone. Above lies
`serving`; below lie `servicer` and `host`. Says SERVING while the store answers, and not while it
does not, or once the process is about to end.
"""

import asyncio
from typing import Final

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from linkspan.session.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server
from linkspan_process.overload import LoadGate
from linkspan_session.host import SessionHost
from linkspan_session.listener import SERVICE_NAME, Listener
from linkspan_session.servicer import SessionServicer
from linkspan_session.session_spans import draining
from linkspan_session.unreadable import reading

_HANG_UP_SECONDS: Final = 1.0
"""How long the last answers may take to leave."""


class GrpcFront:
    """What session servers show of themselves over gRPC."""

    def __init__(
        self,
        listener: Listener,
        host: SessionHost,
        tasks: asyncio.TaskGroup,
        gate: LoadGate | None = None,
    ) -> None:
        """Put a host behind servers that are not started yet.

        Args:
            listener: The servers, which have their ports.
            host: Who answers.
            tasks: Owns what is done on the side.
            gate: Decides which calls are turned away when there are too many; None for none.
        """
        self._doors = [listener.main, *([] if listener.admin is None else [listener.admin])]
        self._gate = gate
        self._host = host
        self._tasks = tasks
        self._health = health.aio.HealthServicer()
        self._serving = False
        self._started = False

    async def start(self) -> None:
        """Begin to serve."""
        servicer = SessionServicer(self._host, self._gate)
        for door in self._doors:
            add_SessionServiceServicer_to_server(servicer, reading(door.sessions))
            health_pb2_grpc.add_HealthServicer_to_server(self._health, door.server)
        reflection.enable_server_reflection(
            (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), self._doors[-1].server
        )
        await self._tell()
        for door in self._doors:
            await door.sessions.start()
        self._started = True

    def say_serving(self, serving: bool) -> None:
        """Say whether calls are any use."""
        self._serving = serving
        if self._started:
            self._tasks.create_task(self._tell())

    async def stop(self, grace_seconds: float) -> None:
        """Say not serving, let what runs end, and hang up.

        Args:
            grace_seconds: How long what runs may take to end.
        """
        live = self._host.sessions.live()
        with draining(len(live), sum(len(each.calls) for each in live)):
            await self._health.enter_graceful_shutdown()
            await self._host.drain(grace_seconds)
            stops = [door.sessions.stop(grace=_HANG_UP_SECONDS) for door in self._doors]
            await asyncio.gather(*stops)

    async def _tell(self) -> None:
        response = health_pb2.HealthCheckResponse
        for name in ("", SERVICE_NAME):
            await self._health.set(
                name, response.SERVING if self._serving else response.NOT_SERVING
            )
