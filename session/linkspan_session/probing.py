"""Looking whether another session server answers, when somebody could not reach it."""

import asyncio
from typing import Final, Protocol

import grpc
from grpc_health.v1 import health_pb2

from linkspan_process.ports import split_address
from linkspan_process.tls.channels import open_channel
from linkspan_process.tls.watching import TlsFiles
from linkspan_process.unix_sockets import is_unix, path_of
from linkspan_session.ownership import Probed
from linkspan_session.store import NodeId, address_of

_PROBE_SECONDS: Final = 1.0


class Probe(Protocol):
    """Looks whether a session server answers."""

    async def __call__(self, node: NodeId) -> Probed:
        """Look, bounded in time."""
        ...


async def probe(
    node: NodeId, *, timeout_seconds: float = _PROBE_SECONDS, tls: TlsFiles | None = None
) -> Probed:
    """Talk to a session server.

    A connection alone proves nothing: the kernel takes it in the name of a process that is stopped.

    Args:
        node: Which run of which server.
        timeout_seconds: How long it may take to be connected to, and to answer.
        tls: Who this process is; None for no TLS.
    """
    address = address_of(node)
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await _connect(address)
            writer.close()
    except ConnectionRefusedError:
        return Probed.REFUSES
    except (OSError, ValueError, OverflowError, TimeoutError):
        return Probed.SILENT  # a socket that is not here may be on another machine
    async with open_channel(address, tls) as channel:
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


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if is_unix(address):
        return await asyncio.open_unix_connection(path_of(address))
    return await asyncio.open_connection(*split_address(address))
