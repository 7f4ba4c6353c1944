"""The way to a Redis server or cluster: one call, bounded in time, over a bounded pool.

Above lie the stores, which know keys and scripts; this knows neither. Below lie the connections,
which know no time. What it promises:

- A call takes two seconds at most, waiting for a connection included, whether the server is away,
  hung or slow. Nothing is retried in the background, and a server that is away is asked again
  by the next call, so that serving resumes by itself.
- A call whose connection broke is sent once more, over a new one. It may thus be executed twice:
  every script that writes must be one that can be. So is a call that a server refused because it
  is no master any more.
- An outage is logged once, and its end; no message holds a password.
"""

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar, cast

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - not the built-in one, of which it is no kind
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from linkspan_session.errors import StoreUnavailableError
from linkspan_session.store.redis_address import RedisAddress
from linkspan_session.store.redis_connections import RedisCluster, RedisServer, Word
from linkspan_session.store.redis_scripts import Script

T = TypeVar("T")

logger = logging.getLogger(__name__)

CALL_SECONDS: Final = 2.0
"""How long a call may take in all."""

_MAX_CONNECTIONS: Final = 32
"""How many calls are under way at once; others wait for their turn."""

_CALM_SECONDS: Final = 5.0
"""How long no call must have failed for an outage to be over."""


class OutcomeUnknownError(StoreUnavailableError):
    """The server did not answer: it may have done what it was asked, or may do it yet."""


def new_token() -> str:
    """Return a name for one write, by which a script tells that it has done it already."""
    return os.urandom(8).hex()


async def together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do things at the same time and return what they return, in order.

    The first that fails ends the others, and is raised as it is.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


class RedisLink:
    """The way to one store. Make it with `to`; it connects when it is first used."""

    def __init__(self, client: RedisServer | RedisCluster, place: str) -> None:
        """Make a link.

        Args:
            client: What sends commands.
            place: Where the store is, for the log.
        """
        self._client = client
        self._turns = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._outage = _Outage(place)

    @classmethod
    def to(cls, address: RedisAddress) -> "RedisLink":
        """Make a link to an address, without going there yet."""
        client = RedisCluster(address) if address.cluster else RedisServer(address)
        return cls(client, str(address))

    async def run(self, script: Script, keys: list[str], *arguments: Word) -> list[Any]:
        """Run a script and return its answer, a list that begins with a word.

        Cancelling it leaves it open whether the script was run.

        Raises:
            OutcomeUnknownError: It may have been run.
            StoreUnavailableError: It was not run, or the server refused it as a whole.
        """
        try:
            answer = await self._call("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except NoScriptError:
            try:
                answer = await self._call("EVAL", script.source, len(keys), *keys, *arguments)
            except NoScriptError as error:
                raise StoreUnavailableError from error
        return cast("list[Any]", answer)

    async def command(self, *words: Word) -> Any:
        """Send a command that does the same when it is sent twice; raises what `run` raises."""
        return await self._call(*words)

    async def close(self) -> None:
        """Wait for what is under way, then disconnect. Call once, last."""
        for _ in range(_MAX_CONNECTIONS):
            await self._turns.acquire()
        await self._client.close()

    async def _call(self, *words: Word) -> Any:
        try:
            async with asyncio.timeout(CALL_SECONDS), self._turns:
                answer = await self._send(words)
        except NoScriptError:
            raise
        except ResponseError as error:
            self._outage.note(error)
            raise StoreUnavailableError from error
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._outage.note(error)
            raise OutcomeUnknownError from error
        self._outage.note_answer()
        return answer

    async def _send(self, words: tuple[Word, ...]) -> Any:
        try:
            return await self._client.execute(*words)
        except (AuthenticationError, BusyLoadingError):
            raise
        except ReadOnlyError:
            return await self._client.execute(*words)
        except ConnectionError as broken:
            try:
                return await self._client.execute(*words)
            except NoScriptError:
                raise
            except ResponseError as refusal:  # but it may have been done the first time
                raise broken from refusal


class _Outage:
    """Whether the server is away, so that the log says so once."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._failed_at: float | None = None

    def note(self, error: BaseException) -> None:
        """A call failed."""
        if self._failed_at is None:
            reason = str(error) or type(error).__name__
            logger.warning("the session store at %s does not answer: %s", self._place, reason)
        self._failed_at = asyncio.get_running_loop().time()

    def note_answer(self) -> None:
        """A call was answered; stragglers may still fail, and others do what this one did not."""
        if self._failed_at is None:
            return
        if asyncio.get_running_loop().time() - self._failed_at > _CALM_SECONDS:
            self._failed_at = None
            logger.info("the session store at %s answers again", self._place)
