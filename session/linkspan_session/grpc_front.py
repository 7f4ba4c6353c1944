"""The gRPC server before the session host: sessions, health and reflection on one port.

Above lies `server`; below lie `servicer` and `host`. Says SERVING while the store answers, and not
while it does not, or once the process is about to end.
"""

import asyncio
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from linkspan.session.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server
from linkspan_contract.limits import MAX_GRPC_MESSAGE_BYTES
from linkspan_propagation import server_interceptor
from linkspan_session.host import SessionHost
from linkspan_session.servicer import SERVICE_NAME, SPAN_NAMES, SessionServicer

_HANG_UP_SECONDS: Final = 1.0
"""How long the last answers may take to leave."""

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_BYTES),
    # Without this a second server on the same port would start and take half of the calls.
    ("grpc.so_reuseport", 0),
    # Workers ask often whether this server is alive; without these it would hang up on them.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
    # Workers that found this server by a name look again who else has it, now and then.
    ("grpc.max_connection_age_ms", 2 * 60 * 1000),
)


class GrpcFront:
    """What session servers show of themselves over gRPC."""

    def __init__(
        self, server: grpc.aio.Server, host: SessionHost, tasks: asyncio.TaskGroup
    ) -> None:
        """Put a host behind a server that is not started yet.

        Args:
            server: The server, made by `new_grpc_server`.
            host: Who answers.
            tasks: Owns what is done on the side.
        """
        self._server = server
        self._host = host
        self._tasks = tasks
        self._health = health.aio.HealthServicer()
        self._serving = False
        self._started = False

    async def start(self) -> None:
        """Begin to serve."""
        add_SessionServiceServicer_to_server(SessionServicer(self._host), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        await self._tell()
        await self._server.start()
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
        await self._health.enter_graceful_shutdown()
        await self._host.drain(grace_seconds)
        await self._server.stop(grace=_HANG_UP_SECONDS)

    async def _tell(self) -> None:
        response = health_pb2.HealthCheckResponse
        for name in ("", SERVICE_NAME):
            await self._health.set(
                name, response.SERVING if self._serving else response.NOT_SERVING
            )


def new_grpc_server() -> grpc.aio.Server:
    """Make a server that carries trace context and has no port yet."""
    return grpc.aio.server(
        interceptors=[server_interceptor(span_names=SPAN_NAMES, record=_is_ours)],
        options=_CHANNEL_OPTIONS,
    )


def _is_ours(full_method: str) -> bool:
    return full_method.startswith(f"/{SERVICE_NAME}/")
