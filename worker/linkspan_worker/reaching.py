"""Whether session servers can be reached, watched beside the requests, and said once in the log if not.

Above lies `server`; below lie the connection's own state and `linkspan_process.tls.diagnosis`. Requests
know only that they were not sent; what an operator has to mend is said here. Invariant: nothing is sent
to a session server that gRPC has a connection to.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import grpc

from linkspan_process.errors import SettingError
from linkspan_process.tls import TlsConfig
from linkspan_process.tls.diagnosis import diagnose
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
    task = asyncio.create_task(_Watch(sessions, target, config).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


class _Watch:
    """What was seen of the connections so far, and said."""

    def __init__(self, sessions: SessionClient, target: str, config: TlsConfig) -> None:
        self._sessions = sessions
        self._target = target
        self._config = config
        self._told: frozenset[str] = frozenset()
        self._failing = 0
        self._connected = False

    async def run(self) -> None:
        if self._config.wants_tls:
            self._sessions.connect()  # a wrong certificate is told of at the start
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except Exception:  # what cannot be found out is no reason to end
                logger.debug("cannot tell whether session servers are reached", exc_info=True)

    async def _look(self) -> None:
        state = self._sessions.connection
        if state is grpc.ChannelConnectivity.READY:
            if self._config.wants_tls and not self._connected:
                words = await self._sessions.refusal(timeout_seconds=_CHECK_SECONDS)
                if words:
                    self._tell([f"{self._target}: {words}"])
                else:
                    self._told = frozenset()
            self._connected = True
            self._failing = 0
        elif state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            self._connected = False
            self._failing += 1
            if self._failing % _EVERY_LOOKS == _AT_LOOK:  # most that are away come back sooner
                addresses = self._sessions.members.preferred("")[:_MOST]
                self._tell(await _diagnoses(addresses, self._config, name_of(self._target)))
        else:
            self._connected = False

    def _tell(self, found: Sequence[str]) -> None:
        """Say what was not said before, or since all was well."""
        for words in found:
            if words not in self._told:
                logger.error("no connection to a session server: %s", words)
        self._told |= frozenset(found)


async def _diagnoses(addresses: Iterable[str], config: TlsConfig, server_name: str) -> list[str]:
    found: list[str] = []
    for address in addresses:
        words = await diagnose(address, config, server_name)
        if words is not None:
            found.append(f"{address}: {words}")
    return found
