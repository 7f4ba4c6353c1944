"""What each caller may do at once and how often: who is over it gets 429, and is told when to come.

Above lies `endpoint`, which asks before it reads a body, and `server`, which has every place given
back; below lies `rates`. A caller is whom the door let in, by issuer and subject; without a door it is
the address of a client, or for IPv6 its /64, which one customer has whole. Invariant: a request that
has taken a place gives it back, however it ends.

Source: RFC 6585, section 4 (429); RFC 9110, section 10.2.3 (`Retry-After`).
"""

import math
import time
from collections.abc import Callable
from http import HTTPStatus

from linkspan_contract.envelope import INVALID_REQUEST, Batch, Envelope
from linkspan_worker.client_networks import network_of
from linkspan_worker.failures import RETRY_AFTER_SECONDS, Refusal
from linkspan_worker.http import HttpExchange
from linkspan_worker.http.connection import Serve
from linkspan_worker.rates import Rate, TokenBuckets
from linkspan_worker.session_client import Principal


class CallerLimits:
    """Who is being answered, and who came how often."""

    def __init__(
        self,
        *,
        rate: Rate | None,
        max_in_flight: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with nobody.

        Args:
            rate: How often each caller may come; None for as often as they like.
            max_in_flight: How many requests of each caller are answered at once, listening ones
                included; None for as many as there are.
            clock: The time in seconds.
        """
        self._buckets = None if rate is None else TokenBuckets(rate)
        self._max_in_flight = max_in_flight
        self._clock = clock
        self._callers: dict[HttpExchange, str] = {}
        self._in_flight: dict[str, set[HttpExchange]] = {}

    def __len__(self) -> int:
        """How many callers are being answered."""
        return len(self._in_flight)

    def enter(self, exchange: HttpExchange, principal: Principal | None) -> Refusal | None:
        """Let a request take its place; returns why not, if it may not.

        Args:
            exchange: The request.
            principal: Who was let in; None without a door.
        """
        caller = _name_of(exchange, principal)
        if self._is_full(caller):
            return _too_many(
                "too many requests of yours are under way; wait for one of them",
                "caller_in_flight",
                RETRY_AFTER_SECONDS,
            )
        if self._buckets is not None:
            wait = self._buckets.take(caller, self._clock())
            if wait:
                return _too_many(
                    "you send requests too often; wait, then try again",
                    "caller_rate",
                    math.ceil(wait),
                )
        self._callers[exchange] = caller
        self._in_flight.setdefault(caller, set()).add(exchange)
        return None

    def _is_full(self, caller: str) -> bool:
        running = self._in_flight.get(caller, ())
        if self._max_in_flight is None or len(running) < self._max_in_flight:
            return False
        # A client that has its whole answer may come again before all is done behind it.
        return sum(not each.response_ended for each in running) >= self._max_in_flight

    def count(self, exchange: HttpExchange, message: Envelope | Batch | None) -> None:
        """Count the messages of a batch as if each had come alone, now that they are known."""
        if isinstance(message, Batch) and self._buckets is not None:
            caller = self._callers.get(exchange)
            if caller is not None:
                self._buckets.owe(caller, len(message.messages) - 1, self._clock())

    def leave(self, exchange: HttpExchange) -> None:
        """Give back the place of a request, if it has taken one."""
        caller = self._callers.pop(exchange, None)
        if caller is None:
            return
        running = self._in_flight[caller]
        running.discard(exchange)
        if not running:
            del self._in_flight[caller]


class PlacesGivenBack:
    """An application after whose every answer the place of its request is free."""

    def __init__(self, application: Serve, callers: CallerLimits) -> None:
        """Stand before an application.

        Args:
            application: Answers each request.
            callers: Whose places they are.
        """
        self._application = application
        self._callers = callers

    async def __call__(self, exchange: HttpExchange) -> None:
        """Have one request answered."""
        try:
            await self._application(exchange)
        finally:
            self._callers.leave(exchange)


def _name_of(exchange: HttpExchange, principal: Principal | None) -> str:
    if principal is not None:
        return f"{len(principal.issuer)} {principal.issuer}{principal.subject}"
    passed_on = exchange.passed_on
    if passed_on is not None and passed_on.client is not None:  # by the word of a trusted proxy
        return network_of(passed_on.client[0])
    return "" if exchange.client is None else network_of(exchange.client[0])


def _too_many(words: str, reason: str, retry_after_seconds: int) -> Refusal:
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        INVALID_REQUEST,
        f"Too many requests: {words}",
        reason,
        headers=(("retry-after", str(max(retry_after_seconds, 1))),),
    )
