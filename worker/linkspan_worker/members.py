"""Which session servers there are, one by one, and which of them a routing key prefers.

Above lies `sends`. Every worker that knows the same servers prefers the same ones for a key, and a
server that comes or goes moves no keys but its own (rendezvous hashing). A hint, like all placement.

Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.
"""

import asyncio
import logging
import random
import socket
import time
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

logger = logging.getLogger(__name__)

LOOK_UP_SECONDS: Final = 5.0
"""How often a name is looked up anew while it is used."""

_LISTS: Final = ("ipv4:", "ipv6:")
_SOCKETS: Final = ("unix:", "unix-abstract:")


class Members:
    """The session servers behind a gRPC target."""

    def __init__(self, target: str) -> None:
        """Know those that the target names; those behind a name are looked up when first asked for.

        Args:
            target: As `targets.parse_target` returns it.
        """
        self._known: tuple[str, ...] = ()
        self._name: tuple[str, int] | None = None
        self._looked_up_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        if target.startswith(_LISTS):
            self._known = tuple(target.partition(":")[2].split(","))
        elif target.startswith(_SOCKETS):
            self._known = (target,)
        else:
            name = target.removeprefix("dns:").rpartition("/")[2]
            host, _, port = name.rpartition(":")
            self._name = (host.strip("[]"), int(port))

    def preferred(self, key: str) -> Sequence[str]:
        """Return the addresses of all servers, the one first that a key prefers.

        Args:
            key: The routing key; an empty one prefers any.
        """
        if self._name is not None:
            self._look_up_if_due()
        known = self._known
        if len(known) <= 1:
            return known
        if not key:
            return random.sample(known, len(known))
        return sorted(known, key=lambda address: _weight(address, key), reverse=True)

    def close(self) -> None:
        """Look nothing up any more."""
        if self._looking is not None:
            self._looking.cancel()

    def _look_up_if_due(self) -> None:
        if self._looking is None and time.monotonic() - self._looked_up_at >= LOOK_UP_SECONDS:
            self._looking = asyncio.get_running_loop().create_task(self._look_up())

    async def _look_up(self) -> None:
        loop = asyncio.get_running_loop()
        host, port = self._name or ("", 0)
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._known = tuple(sorted({_written(each[4]) for each in found}))
        except (OSError, UnicodeError) as error:  # those that are known stay so
            logger.debug("cannot look up %s: %s", host, error)
        finally:
            self._looked_up_at = time.monotonic()
            self._looking = None


def _weight(address: str, key: str) -> bytes:
    return blake2b(f"{address} {key}".encode(), digest_size=8).digest()


def _written(address: Sequence[object]) -> str:
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
