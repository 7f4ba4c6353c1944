"""Whether session servers can be reached, watched beside the requests, and said once in the log if not.

Above lies `server`; below lie the connection's own state and `linkspan_process.tls.diagnosis`. Requests
know only that they were not sent; what an operator has to mend is said here. Invariant: nothing is sent
to a session server that gRPC has a connection to.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import grpc
from grpc_health.v1 import health_pb2

from linkspan_process.errors import SettingError
from linkspan_process.tls import TlsConfig
from linkspan_process.tls.diagnosis import diagnose
from linkspan_worker.placement import Route
from linkspan_worker.session_client import SessionClient
from linkspan_worker.targets import name_of, names_several

LOOK_SECONDS: Final = 1.0
_MOST: Final = 3
"""How many servers are asked why they cannot be reached."""

_EVERY_LOOKS: Final = 10
_AT_LOOK: Final = 2
"""At which look of so many that find no connection it is found out why."""

_CHECK_SECONDS: Final = 2.0

logger = logging.getLogger(__name__)


def check_server_names(target: str, config: TlsConfig) -> None:
    """Refuse a list of hosts whose certificates cannot be told apart.

    gRPC looks for one name in the certificates of all servers of a target, and a list has none.

    Raises:
        SettingError: There is no name to look for.
    """
    if config.wants_tls and not config.tls_server_name and names_several(target):
        raise SettingError(
            "--tls-server-name: name what the certificates of all session servers hold, since "
            "--session lists several hosts"
        )


@asynccontextmanager
async def watching_servers(
    sessions: SessionClient, target: str, config: TlsConfig
) -> AsyncGenerator[None]:
    """Say in the log what is wrong about TLS with the session servers, until the block is left.

    Args:
        sessions: The way to them.
        target: The target that they are behind.
        config: The settings of TLS.
    """
    task = asyncio.create_task(_watch(sessions, target, config))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _watch(sessions: SessionClient, target: str, config: TlsConfig) -> None:
    if config.wants_tls:
        sessions.placement.is_ready()  # connects: a wrong certificate is told of at the start
    told: frozenset[str] = frozenset()
    asked: Route | None = None
    failing = 0
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        placement = sessions.placement
        state = placement.channel.get_state()
        if state is grpc.ChannelConnectivity.READY:
            if config.wants_tls and asked is not placement:
                asked = placement
                words = await refusal_of(placement)
                if words:
                    logger.error("no connection to a session server: %s: %s", target, words)
            told, failing = frozenset[str](), 0
        elif state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            failing += 1
            if failing % _EVERY_LOOKS != _AT_LOOK:  # most servers that are away come back soon
                continue
            addresses = sessions.members.preferred("")[:_MOST]
            found = frozenset(await _diagnoses(addresses, config, name_of(target)))
            for words in sorted(found - told):
                logger.error("no connection to a session server: %s", words)
            told |= found
            asked = None


async def refusal_of(placement: Route) -> str:
    """Ask a session server that believes this worker's certificate whether it lets it in.

    Returns:
        What it says if it does not; empty if it does, or nobody can tell.
    """
    check = placement.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    try:
        await check(health_pb2.HealthCheckRequest(), timeout=_CHECK_SECONDS)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.PERMISSION_DENIED:
            return error.details() or error.code().name
    return ""


async def _diagnoses(addresses: Iterable[str], config: TlsConfig, server_name: str) -> list[str]:
    found: list[str] = []
    for address in addresses:
        try:
            words = await diagnose(address, config, server_name)
        except Exception:  # what cannot be found out is no reason to end
            logger.debug("cannot tell why %s is not reached", address, exc_info=True)
            continue
        if words is not None:
            found.append(f"{address}: {words}")
    return found
