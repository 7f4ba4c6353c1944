"""Opaque tokens: the issuer is asked what each one is worth.

However many requests bring the same token, it is asked about once at a time; and no more than a
bounded number of tokens is asked about at once, because anybody can make tokens up. One that is not
active is not asked about again for a few seconds.

Source: RFC 7662, sections 2.1 and 2.2.
"""

import asyncio
import base64
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote

from linkspan_auth.claims import Terms, identify
from linkspan_auth.errors import CredentialError, FetchError, UnavailableError
from linkspan_auth.fetching import Fetcher
from linkspan_auth.issuer import Issuer
from linkspan_auth.model import Identity, Reason

MAX_AT_ONCE: Final = 32
"""How many tokens may be asked about at once; above it, requests are shed."""

MAX_INACTIVE: Final = 10_000
"""How many tokens that are not active are remembered, each for a few seconds."""

_INACTIVE_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """How we show the issuer who asks.

    Attributes:
        client_id: Our id at the issuer.
        secret: Our secret; kept out of `repr`.
    """

    client_id: str
    secret: str

    def __repr__(self) -> str:
        """Say who, not with what."""
        return f"ClientSecret(client_id={self.client_id!r})"

    @property
    def header(self) -> str:
        """The value of `Authorization` (RFC 6749, section 2.3.1: both are form-encoded first)."""
        pair = f"{quote(self.client_id, safe='')}:{quote(self.secret, safe='')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"


def read_answer(document: object, issuer: str, terms: Terms, now: float) -> Identity:
    """Read what the issuer says of a token.

    Raises:
        CredentialError: The token is not good here. One whose audience is not said is none of ours.
        FetchError: That is no answer.
    """
    if not isinstance(document, dict):
        raise FetchError(f"{issuer}: its answer about a token is no JSON object")
    answer = cast("Mapping[str, Any]", document)
    if answer.get("active") is not True:
        raise CredentialError(Reason.INACTIVE)
    return identify(answer, issuer, terms, "opaque", now)


class Introspection:
    """Asks one issuer about tokens."""

    def __init__(
        self,
        issuer: Issuer,
        client: ClientSecret,
        fetcher: Fetcher,
        tasks: asyncio.TaskGroup,
        *,
        url: str,
        terms: Terms,
        remember_seconds: float,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make it.

        Args:
            issuer: Whose tokens these are.
            client: Who we are there.
            fetcher: Asks.
            tasks: Owns the questions.
            url: Where to ask; empty if the issuer's metadata say so.
            terms: What a token must say.
            remember_seconds: How long an answer may be remembered.
            now: The wall clock, in seconds since the Unix epoch.
            monotonic: A clock that does not jump.
        """
        self._issuer = issuer
        self._client = client
        self._fetcher = fetcher
        self._tasks = tasks
        self._url = url
        self._terms = terms
        self._now = now
        self._inactive_seconds = min(remember_seconds, _INACTIVE_SECONDS)
        self._monotonic = monotonic
        self._asking: dict[bytes, asyncio.Task[Identity | Reason]] = {}
        self._inactive: dict[bytes, float] = {}
        """Until when each token is known not to be active, by digest; the oldest comes first."""

    async def identify(self, token: str, digest: bytes) -> Identity:
        """Say whose a token is.

        Raises:
            CredentialError: It is not good.
            UnavailableError: The issuer does not answer, or too many are asked about.
        """
        if self._monotonic() < self._inactive.get(digest, 0.0):
            raise CredentialError(Reason.INACTIVE)
        task = self._asking.get(digest)
        if task is None:
            if len(self._asking) >= MAX_AT_ONCE:
                raise UnavailableError(Reason.BUSY, _RETRY_SECONDS)
            task = self._tasks.create_task(self._ask(token, digest))
            self._asking[digest] = task
            task.add_done_callback(lambda _: self._asking.pop(digest, None))
        answer = await asyncio.shield(task)
        if isinstance(answer, Identity):
            return answer
        if answer is Reason.ISSUER_AWAY:
            raise UnavailableError(answer, _RETRY_SECONDS)
        raise CredentialError(answer)

    def stop(self) -> None:
        """Give up what is being asked."""
        for task in self._asking.values():
            task.cancel()

    def _note_inactive(self, digest: bytes) -> None:
        self._inactive.pop(digest, None)
        while len(self._inactive) >= MAX_INACTIVE:
            del self._inactive[next(iter(self._inactive))]
        self._inactive[digest] = self._monotonic() + self._inactive_seconds

    async def _ask(self, token: str, digest: bytes) -> Identity | Reason:
        """Ask; never fails."""
        try:
            url = self._url or (await self._issuer.metadata.get()).introspection_endpoint
            document = await self._fetcher.post_form(
                url,
                {"token": token, "token_type_hint": "access_token"},
                {"authorization": self._client.header},
            )
            return read_answer(document, self._issuer.name, self._terms, self._now())
        except CredentialError as error:
            if error.reason is Reason.INACTIVE:
                self._note_inactive(digest)
            return error.reason
        except (FetchError, UnavailableError):
            return Reason.ISSUER_AWAY
        except Exception:  # it would end all that the task group owns
            logger.exception("%s could not be asked about a token", self._issuer.name)
            return Reason.ISSUER_AWAY
