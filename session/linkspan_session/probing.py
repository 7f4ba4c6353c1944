"""Looking whether another session server answers, when somebody could not reach it."""

import asyncio
from typing import Final

import grpc
from grpc_health.v1 import health_pb2

from linkspan_session.ownership import Probed
from linkspan_session.store import NodeId, address_of

_PROBE_SECONDS: Final = 1.0


async def probe(node: NodeId, *, timeout_seconds: float = _PROBE_SECONDS) -> Probed:
    """Talk to a session server.

    A connection alone proves nothing: the kernel takes it in the name of a process that is stopped.
    """
    address = address_of(node)
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.close()
    except ConnectionRefusedError:
        return Probed.REFUSES
    except (OSError, ValueError, TimeoutError):
        return Probed.SILENT
    async with grpc.aio.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            await check(health_pb2.HealthCheckRequest(), timeout=timeout_seconds)
        except grpc.aio.AioRpcError:
            return Probed.SILENT
    return Probed.ANSWERS
