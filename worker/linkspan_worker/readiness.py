"""Whether any session server takes calls: their health checks, asked by placement.

Above lies `session_client`; below lies `placement`. Nobody can say which server a check goes to, so
several go out side by side, each with a key of its own, again and again until one says yes.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2

from linkspan_worker.placement import Route, routed

_SERVICE_NAME: Final = "linkspan.session.v1.SessionService"

_SIDE_BY_SIDE: Final = 4
_TRIES: Final = 16
_CHECK_SECONDS: Final = 0.25
"""How long one server may take to answer; a stopped one never does."""


class Readiness:
    """Health checks of the session servers behind one channel."""

    def __init__(self, placement: Callable[[], Route]) -> None:
        """Check by placement.

        Args:
            placement: Returns the way to any session server, as it is now.
        """
        self._placement = placement

    def _checking(self) -> Any:
        return self._placement().channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )

    async def refusal(self, *, timeout_seconds: float) -> str:
        """Ask one session server whether it lets this worker in.

        Returns:
            What it says if it does not; empty if it does, or nobody can tell.
        """
        try:
            await self._checking()(health_pb2.HealthCheckRequest(), timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                return error.details() or error.code().name
        return ""

    async def is_serving(self, *, timeout_seconds: float) -> bool:
        """Tell whether one session server, at least, says in time that it takes calls."""
        checks = {asyncio.ensure_future(self._find_one()) for _ in range(_SIDE_BY_SIDE)}
        pending = checks
        try:
            async with asyncio.timeout(timeout_seconds):
                while pending:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    if any(check.result() for check in done):
                        return True
        except TimeoutError:
            pass
        finally:
            for check in checks:
                check.cancel()
        return False

    async def _find_one(self) -> bool:
        """Ask one server after another; False if none says yes or none can be called at all."""
        request = health_pb2.HealthCheckRequest(service=_SERVICE_NAME)
        check = self._checking()
        for _ in range(_TRIES):
            try:
                response = await check(
                    request, timeout=_CHECK_SECONDS, metadata=routed(secrets.token_urlsafe(8))
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    continue
                return False
            if response.status == health_pb2.HealthCheckResponse.SERVING:
                return True
        return False
