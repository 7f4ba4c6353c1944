"""Connections to a Redis server, and to the servers of a cluster, on redis-py's `Connection`.

Above lies `redis_link`, which bounds how many commands are under way, and their time: nothing here
waits for a turn, and but for connecting nothing here ends by itself.

redis-py's own pool costs twice the time per command and may lose a connection that is given back
while its user is cancelled; its client of a cluster closes connections that others are using.
"""

import asyncio
from bisect import bisect_right
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias, cast

from redis.asyncio import Connection, SSLConnection
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - not the built-in one, of which it is no kind
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from linkspan_session.store.redis_address import RedisAddress

Word: TypeAlias = bytes | str | int
"""What a command is made of."""

Node: TypeAlias = tuple[str, int]
"""A host and a port."""

_CONNECT_SECONDS: Final = 1.0

_MAP_SECONDS: Final = 0.5
"""How long one node of a cluster has to say who holds what, before another is asked."""

_MAX_REDIRECTIONS: Final = 5

_TRY_AGAIN_SECONDS: Final = 0.05
"""How long a slot whose keys are on their way to another node is left alone."""


class RedisServer:
    """Connections to one server. One is made when none is idle, and kept; the last used goes first."""

    def __init__(self, address: RedisAddress, node: Node | None = None) -> None:
        """Describe a server.

        Args:
            address: As whom to go there, and with which certificates.
            node: Which of a cluster's nodes it is; None for the address's only one.
        """
        host, port = node or address.nodes[0]
        self._kind = SSLConnection if address.tls else Connection
        self._options: dict[str, Any] = {
            "host": host,
            "port": port,
            "db": address.database,
            "username": address.username,
            "password": address.password,
            "socket_timeout": None,  # the link's own is for all of a call
            "socket_connect_timeout": _CONNECT_SECONDS,
            "protocol": 2,
            "driver_info": None,
            **address.tls_files,
        }
        self._idle: list[Connection] = []
        self._closed = False

    async def execute(self, *words: Word, asking: bool = False) -> Any:
        """Send a command and return the answer; raises what redis-py raises.

        Args:
            words: The command.
            asking: Whether another node sent us here for a slot that is on its way to this one.
        """
        connection = self._idle.pop() if self._idle else self._kind(**self._options)
        try:
            return await _exchange(connection, words, asking=asking)
        except ReadOnlyError:
            # A replica now, which it stays: the address may lead to the master by now.
            await connection.disconnect(nowait=True)
            await self._drop_idle()
            raise
        except ResponseError:
            raise
        except ConnectionError:
            await connection.disconnect(nowait=True)
            await self._drop_idle()  # the server has ended, most likely
            raise
        except BaseException:
            await connection.disconnect(nowait=True)  # its answer would be taken for another's
            raise
        finally:
            if self._closed:
                await connection.disconnect(nowait=True)
            self._idle.append(connection)

    async def _drop_idle(self) -> None:
        for idle in tuple(self._idle):
            await idle.disconnect(nowait=True)

    async def close(self) -> None:
        """Close all connections, those in use once they are not."""
        self._closed = True
        for connection in tuple(self._idle):
            with suppress(RedisError, OSError):
                await connection.disconnect()


class _Holding(NamedTuple):
    """A range of slots and the node that holds them."""

    first: int
    last: int
    node: Node


class RedisCluster:
    """Connections to the servers of a cluster, each command to the one that holds its first key.

    While a slot moves, what takes several keys of it is refused unless all are in one place. Most
    sessions lack a key or two, so those of a slot are unavailable until it has moved.

    Source: Redis cluster specification, "Redirection and resharding", "Multi-keys operations".
    """

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._servers = {node: RedisServer(address, node) for node in address.nodes}
        self._map: list[_Holding] = []
        self._mapping = asyncio.Lock()

    async def execute(self, *words: Word) -> Any:
        """Send a command and return the answer; raises what redis-py raises."""
        slot = key_slot(_first_key(words))
        redirected: Node | None = None
        refusal: ResponseError | None = None
        for _ in range(_MAX_REDIRECTIONS):
            node = redirected or await self._holder(slot)
            try:
                return await self._server(node).execute(*words, asking=redirected is not None)
            except MovedError as error:
                refusal, redirected = error, None
                self._map = []
            except AskError as error:
                refusal = error
                host = cast("str", cast("Any", error).host)
                redirected = (host or node[0], error.port)
            except TryAgainError as error:
                refusal = error
                await asyncio.sleep(_TRY_AGAIN_SECONDS)
            except (ConnectionError, asyncio.CancelledError):
                self._distrust(node)
                raise
        raise refusal or ClusterDownError("the cluster does not say why it refuses")

    async def close(self) -> None:
        """Close all connections, those in use once they are not."""
        for server in tuple(self._servers.values()):
            await server.close()

    def _server(self, node: Node) -> RedisServer:
        return self._servers.setdefault(node, RedisServer(self._address, node))

    def _distrust(self, node: Node) -> None:
        """Ask anew who holds what, this node last: it may have been replaced."""
        self._map = []
        self._servers[node] = self._servers.pop(node)

    async def _holder(self, slot: int) -> Node:
        if not self._map:
            async with self._mapping:
                if not self._map:
                    self._map = await self._ask_map()
        index = bisect_right(self._map, slot, key=lambda holding: holding.first) - 1
        if index < 0 or self._map[index].last < slot:
            self._map = []
            raise ClusterDownError(f"no node of the cluster holds slot {slot}")
        return self._map[index].node

    async def _ask_map(self) -> list[_Holding]:
        failed: RedisError | OSError = ConnectionError("no node of the cluster answers")
        for node, server in tuple(self._servers.items()):
            try:
                async with asyncio.timeout(_MAP_SECONDS):
                    answer = await server.execute("CLUSTER SLOTS")
            except (RedisError, OSError) as error:  # TimeoutError is an OSError
                failed = error
                continue
            holdings = sorted(_holding_of(each, node) for each in answer)
            await self._forget_all_but({each.node for each in holdings})
            return holdings
        raise failed

    async def _forget_all_but(self, holders: set[Node]) -> None:
        for node in self._servers.keys() - holders - set(self._address.nodes):
            await self._servers.pop(node).close()


async def _exchange(connection: Connection, words: tuple[Word, ...], *, asking: bool) -> Any:
    """Send a command over a connection, which is made if need be, and return the answer."""
    try:
        if asking:
            await connection.send_command("ASKING")
            await connection.read_response()
        await connection.send_command(*words, check_health=False)  # connects if need be
        return cast("Any", await connection.read_response(disable_decoding=True))
    except RuntimeError as error:
        # uvloop closes a connection that is reset; who writes to it is told so by this.
        raise ConnectionError(f"the connection is closed: {error}") from error


def _holding_of(answer: list[Any], asked: Node) -> _Holding:
    """Read one range of `CLUSTER SLOTS`: its bounds, its master, its replicas.

    A node that does not know its own host says nothing, or `?`: it is where it was asked.
    """
    first, last, (host, port, *_), *_ = answer
    name: str = host.decode() if host else ""
    return _Holding(first, last, (asked[0] if name in {"", "?"} else name, port))


def _first_key(words: tuple[Word, ...]) -> bytes:
    key = words[3 if words[0] in {"EVAL", "EVALSHA"} else 1]
    return key if isinstance(key, bytes) else str(key).encode()
