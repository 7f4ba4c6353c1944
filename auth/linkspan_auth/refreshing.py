"""A document that is fetched once for all who ask, kept, and renewed.

However many ask, one fetch is under way. A value that is old is given out while a newer one is
fetched, and for as long as none can be had: an issuer that is away locks nobody out whom it has let
in. Somebody who needs something newer gets a fetch, but not more often than the minimum interval.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from linkspan_auth.errors import FetchError, UnavailableError
from linkspan_auth.model import Reason

T = TypeVar("T")

_FIRST_RETRY_SECONDS: Final = 1.0
_LAST_RETRY_SECONDS: Final = 30.0

logger = logging.getLogger(__name__)


def retry_delay(failures: int) -> float:
    """Say how long to wait after that many failures in a row, in seconds: 1, 2, 4 … 30."""
    return float(min(_FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10), _LAST_RETRY_SECONDS))


class Refreshed(Generic[T]):
    """One document and its freshness."""

    def __init__(
        self,
        what: str,
        load: Callable[[], Awaitable[T]],
        tasks: asyncio.TaskGroup,
        *,
        max_age_seconds: float,
        min_interval_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a document that has not been fetched.

        Args:
            what: What it is called in logs.
            load: Fetches it, bounded in time; raises `FetchError` or `UnavailableError`.
            tasks: Owns the fetches.
            max_age_seconds: When it is old and is fetched anew.
            min_interval_seconds: How long after a fetch nobody can ask for another.
            monotonic: A clock that does not jump.
        """
        self._what = what
        self._load = load
        self._tasks = tasks
        self._max_age_seconds = max_age_seconds
        self._min_interval_seconds = min_interval_seconds
        self._monotonic = monotonic
        self._value: T | None = None
        self._old_at = 0.0
        self._next_try_at = 0.0
        self._failures = 0
        self._fetch: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Fetch it in the background, if it may be fetched now."""
        if self._fetch is None and self._monotonic() >= self._next_try_at:
            self._start()

    async def get(self) -> T:
        """Return the document; waits for it only if there has never been one.

        Cancelling it leaves the fetch to the others who wait.

        Raises:
            UnavailableError: It cannot be had now.
        """
        if self._value is None:
            await self._renew()
        elif self._monotonic() >= self._old_at:
            self.begin()
        if self._value is None:
            raise self._away()
        return self._value

    async def newer_than(self, seen: T) -> T:
        """Return a document that may be newer, because `seen` does not have what is needed.

        Returns `seen` itself if it was fetched a moment ago.

        Raises:
            UnavailableError: There may be a newer one, and it cannot be had now.
        """
        if self._value is seen:
            await self._renew()
        if self._value is None or (self._value is seen and self._failures):
            raise self._away()
        return self._value

    def stop(self) -> None:
        """Give up the fetch that is under way."""
        if self._fetch is not None:
            self._fetch.cancel()

    async def _renew(self) -> None:
        self.begin()
        if self._fetch is not None:
            # Shielded: whoever goes away does not take the fetch from the others.
            await asyncio.shield(self._fetch)

    def _start(self) -> None:
        self._fetch = self._tasks.create_task(self._run())

    async def _run(self) -> None:
        """Fetch; never fails."""
        try:
            self._value = await self._load()
        except (FetchError, UnavailableError) as error:
            self._failed(str(error))
        except Exception:
            logger.exception("%s could not be read", self._what)
            self._failed("an error of ours")
        else:
            now = self._monotonic()
            if self._failures:
                logger.info("%s can be fetched again", self._what)
            self._failures = 0
            self._old_at = now + self._max_age_seconds
            self._next_try_at = now + self._min_interval_seconds
        finally:
            self._fetch = None

    def _failed(self, why: str) -> None:
        self._failures += 1
        self._next_try_at = self._monotonic() + retry_delay(self._failures)
        what_then = "the older one stays in use" if self._value is not None else "there is none"
        logger.warning("%s could not be fetched, %s: %s", self._what, what_then, why)

    def _away(self) -> UnavailableError:
        return UnavailableError(Reason.ISSUER_AWAY, self._next_try_at - self._monotonic())
