"""Whether session servers can be reached, watched beside the requests, and said once in the log if not.

Above lies `server`; below lie the connection's own state and `linkspan_process.tls.diagnosis`. Requests
know only that they were not sent; what an operator has to mend is said here. Invariants: the cause is
looked for only where gRPC has no connection; each change is one line, however long it lasts.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import grpc

from linkspan_process.errors import SettingError
from linkspan_process.ports import split_address
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

_WARN_LOOKS: Final = 5
"""After so many looks without a connection it is tried, and warned of: most are back by then."""

_WAIT_LOOKS: Final = 15
"""After so many, one that is still being made is warned of as well."""

_CHECK_SECONDS: Final = 2.0
_TRY_SECONDS: Final = 3.0
"""How long it may take to connect to a server, only to see why that fails."""

_ABSTRACT: Final = "unix-abstract:"

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
    """Say in the log when no session server can be reached, and why, until the block is left.

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
        self._without = 0
        """How many looks ago there was a connection."""
        self._warned = False
        """Whether the log says that there is none, and why."""

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
            self._without = 0
            if self._warned:
                self._warned = False
                logger.info("session servers can be reached again at %s", self._target)
            if self._config.wants_tls and not self._connected:
                words = await self._sessions.refusal(timeout_seconds=_CHECK_SECONDS)
                if words:
                    self._tell([f"{self._target}: {words}"])
                else:
                    self._told = frozenset()
            elif not self._config.wants_tls:
                self._told = frozenset()
            self._connected = True
            self._failing = 0
        elif state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            self._connected = False
            self._failing += 1
            if self._failing % _EVERY_LOOKS == _AT_LOOK:  # most that are away come back sooner
                await self._diagnose(self._sessions.members.preferred("")[:_MOST])
        else:
            self._connected = False
        if state is not grpc.ChannelConnectivity.READY:
            await self._warn_when_due(state)

    async def _warn_when_due(self, state: grpc.ChannelConnectivity) -> None:
        self._without += 1
        if state is grpc.ChannelConnectivity.IDLE and self._without % _WARN_LOOKS == 0:
            # Nobody has asked for anything, and placement connects for calls only.
            await self._sessions.refusal(timeout_seconds=_CHECK_SECONDS)
            state = self._sessions.connection
        if self._warned or self._without < _WARN_LOOKS:
            return
        if state in (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.READY):
            return
        waits = state is grpc.ChannelConnectivity.CONNECTING and self._without < _WAIT_LOOKS
        if waits:
            return
        addresses = self._sessions.members.preferred("")[:_MOST]
        if await self._diagnose(addresses):
            return
        reason = await why_unreachable(self._target, addresses)
        if self._sessions.connection is not grpc.ChannelConnectivity.READY:
            self._warned = True
            logger.warning("no session server can be reached at %s: %s", self._target, reason)

    async def _diagnose(self, addresses: Sequence[str]) -> bool:
        """Say what is wrong about TLS; tells whether anything is."""
        found = await _diagnoses(addresses, self._config, name_of(self._target))
        self._warned = self._warned or bool(found)
        self._tell(found)
        return bool(found)

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


async def why_unreachable(target: str, addresses: Sequence[str]) -> str:
    """Find out, by connecting without gRPC, why gRPC has no connection.

    Args:
        target: The target.
        addresses: Those of the servers behind it that are tried; none for a name that stands for
            none, which is then tried itself.

    Returns:
        What the system says, to come after "TARGET: ". Bounded in time.
    """
    tried = addresses or (target.removeprefix("dns:").rpartition("/")[2],)
    reasons = await asyncio.gather(*map(_why_refused, tried))
    return "; ".join(dict.fromkeys(reasons))


async def _why_refused(address: str) -> str:
    try:
        async with asyncio.timeout(_TRY_SECONDS):
            if address.startswith("unix"):
                name = address.partition(":")[2]
                path = f"\0{name}" if address.startswith(_ABSTRACT) else name
                _, writer = await asyncio.open_unix_connection(path)
            else:
                _, writer = await asyncio.open_connection(*split_address(address))
    except TimeoutError:
        return f"no answer within {_TRY_SECONDS:g} s"
    except socket.gaierror as error:
        return (error.strerror or str(error)).lower()
    except OSError as error:
        return (os.strerror(error.errno) if error.errno else str(error)).lower()
    except ValueError as error:  # a name that cannot be looked up
        return str(error)
    writer.close()
    return "something listens there, and does not answer as a session server does"
