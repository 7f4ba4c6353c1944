"""The door: from the `Authorization` header to who that is, or why they are not let in.

Above lies whatever speaks HTTP; it hands in header values and gets decisions. Below lie the ways to
verify: `tokens` with the issuer's keys, `introspection`, `api_keys`. Invariants: what cannot be told
is never an `invalid_token`; nothing that goes wrong in here lets anybody in; no token is kept, logged
or told.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from linkspan_auth.api_keys import PREFIX, ApiKeyFile
from linkspan_auth.bearer import read_bearer
from linkspan_auth.claims import Terms
from linkspan_auth.errors import CredentialError, UnavailableError
from linkspan_auth.fetching import Fetcher, open_fetcher
from linkspan_auth.introspection import Introspection
from linkspan_auth.issuer import Issuer
from linkspan_auth.live_check import BoundedCheck
from linkspan_auth.memory import TokenMemory, digest_of
from linkspan_auth.model import Denial, Identity, Reason
from linkspan_auth.settings import AuthSettings
from linkspan_auth.tokens import looks_like_jwt, read_unverified, verify

logger = logging.getLogger(__name__)

_MAX_RETRY_AFTER_SECONDS: Final = 60


@asynccontextmanager
async def authenticating(settings: AuthSettings) -> AsyncGenerator["Authenticator"]:
    """Run an authenticator; what it fetches in the background ends with the block.

    Issuers are asked for their keys at once, so that the first request need not wait; one that does
    not answer stops nothing.

    Raises:
        AuthConfigurationError: The file of API keys cannot be read.
    """
    fetcher = open_fetcher()
    try:
        async with asyncio.TaskGroup() as tasks:
            authenticator = Authenticator(settings, fetcher, tasks)
            authenticator.begin()
            try:
                yield authenticator
            finally:
                authenticator.stop()
    except BaseExceptionGroup as failed:  # our tasks never fail: it is what the block raised
        raise failed.exceptions[0] from None
    finally:
        await fetcher.close()


class Authenticator:
    """Verifies the credentials of requests."""

    def __init__(self, settings: AuthSettings, fetcher: Fetcher, tasks: asyncio.TaskGroup) -> None:
        """Make it; `authenticating` does.

        Args:
            settings: Who is let in.
            fetcher: Reaches the issuers.
            tasks: Owns what is fetched.

        Raises:
            AuthConfigurationError: The file of API keys cannot be read.
        """
        self._rules = settings.rules
        self._all_scopes = frozenset(settings.rules.all())
        self._algorithms = settings.algorithms
        self._terms = Terms(settings.resource, settings.audiences | {settings.resource})
        self._memory = TokenMemory(max_seconds=settings.remember_seconds)
        self._issuers = {
            name: Issuer(
                name,
                fetcher,
                tasks,
                jwks_url=settings.jwks_url,
                min_interval_seconds=settings.refresh_interval_seconds,
            )
            for name in settings.issuers
        }
        self._keys: ApiKeyFile | None = None
        if settings.api_keys is not None:
            self._keys = ApiKeyFile(settings.api_keys, settings.resource)
        self._introspection: Introspection | None = None
        if settings.client is not None:
            self._introspection = Introspection(
                self._issuers[settings.issuers[0]],
                settings.client,
                fetcher,
                tasks,
                url=settings.introspection_url,
                terms=self._terms,
                remember_seconds=settings.remember_seconds,
            )
        self._check: BoundedCheck | None = None
        if settings.check is not None:
            self._check = BoundedCheck(
                settings.check, timeout_seconds=settings.check_timeout_seconds
            )

    def begin(self) -> None:
        """Fetch in the background what will be needed."""
        for issuer in self._issuers.values():
            issuer.keys.begin()

    def stop(self) -> None:
        """Give up what is being fetched."""
        for issuer in self._issuers.values():
            issuer.stop()
        if self._introspection is not None:
            self._introspection.stop()

    async def authenticate(self, authorization: Sequence[str]) -> Identity | Denial:
        """Say who calls, or why they are not let in. Waits for nothing if that is remembered.

        Args:
            authorization: Every value of the header `Authorization`, trimmed.
        """
        try:
            digest = digest_of(authorization[0]) if len(authorization) == 1 else b""
            identity = self._memory.get(digest)
            if identity is None:
                identity = await self._verify(read_bearer(authorization), digest)
                self._memory.put(digest, identity)
            if self._check is not None:
                await self._check.ask(identity)
        except CredentialError as error:
            return Denial(error.reason, tuple(sorted(self._rules.always)))
        except UnavailableError as error:
            seconds = min(max(math.ceil(error.retry_after_seconds), 1), _MAX_RETRY_AFTER_SECONDS)
            return Denial(error.reason, retry_after_seconds=seconds)
        except Exception:
            logger.exception("a credential could not be looked at")
            return Denial(Reason.MALFORMED, tuple(sorted(self._rules.always)))
        return identity if self._rules.always <= identity.scopes else self._lacking(identity)

    def permit(self, identity: Identity, calls: Iterable[tuple[str, str | None]]) -> Denial | None:
        """Check the scopes of what is asked; None if they do.

        Args:
            identity: Who asks.
            calls: The method of each message, and the tool that it calls, or None.
        """
        needed = self._rules.needed(calls)
        return None if needed <= identity.scopes else self._lacking(identity, needed)

    def _lacking(self, identity: Identity, needed: frozenset[str] = frozenset()) -> Denial:
        """Say what is lacking; what is there is named with it, so that a new token keeps it."""
        scopes = self._rules.always | needed | (identity.scopes & self._all_scopes)
        return Denial(Reason.INSUFFICIENT_SCOPE, tuple(sorted(scopes)))

    async def _verify(self, token: str, digest: bytes) -> Identity:
        if self._keys is not None and token.startswith(PREFIX):
            return self._keys.identify(token)
        if self._issuers and looks_like_jwt(token):
            return await self._verify_jwt(token)
        if self._introspection is not None:
            return await self._introspection.identify(token, digest)
        raise CredentialError(Reason.MALFORMED)

    async def _verify_jwt(self, token: str) -> Identity:
        unverified = read_unverified(token, self._algorithms)
        issuer = self._issuers.get(unverified.issuer)
        if issuer is None:
            raise CredentialError(Reason.UNKNOWN_ISSUER)
        keys = await issuer.keys.get()
        key = keys.find(unverified.kid, unverified.algorithm)
        if key is None:
            keys = await issuer.keys.newer_than(keys)
            key = keys.find(unverified.kid, unverified.algorithm)
        if key is None:
            raise CredentialError(Reason.UNKNOWN_KEY)
        return verify(unverified, key, self._terms, time.time())
