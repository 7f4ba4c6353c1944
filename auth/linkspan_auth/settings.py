"""What can be set, checked as a whole: nothing half-configured lets anybody in or locks all out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from linkspan_auth.claims import MAX_NAME_BYTES
from linkspan_auth.errors import AuthConfigurationError
from linkspan_auth.fetching import check_url
from linkspan_auth.introspection import ClientSecret
from linkspan_auth.keys import ALGORITHMS
from linkspan_auth.live_check import LiveCheck
from linkspan_auth.scopes import ScopeRules

DEFAULT_ALGORITHMS: Final = frozenset({"RS256", "PS256", "ES256", "EdDSA"})

MAX_REMEMBER_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Who is let in.

    Attributes:
        resource: The canonical address of what is protected (RFC 8707).
        issuers: Whose tokens are taken.
        audiences: What tokens may call the resource, beside its address.
        algorithms: How tokens may be signed.
        jwks_url: Where the only issuer's keys are, if its metadata do not say; empty otherwise.
        client: Who we are at the only issuer; None if opaque tokens are not taken.
        introspection_url: Where to ask about opaque tokens, if its metadata do not say.
        api_keys: The file of API keys; None for none.
        rules: The scopes that requests need.
        check: The live check; None for none.
        check_timeout_seconds: How long it may take.
        remember_seconds: How long a verified token is remembered, at most a minute.
        refresh_interval_seconds: How often an unknown key may have the keys fetched anew.
    """

    resource: str
    issuers: tuple[str, ...] = ()
    audiences: frozenset[str] = frozenset()
    algorithms: frozenset[str] = DEFAULT_ALGORITHMS
    jwks_url: str = ""
    client: ClientSecret | None = None
    introspection_url: str = ""
    api_keys: Path | None = None
    rules: ScopeRules = field(default_factory=ScopeRules)
    check: LiveCheck | None = None
    check_timeout_seconds: float = 2.0
    remember_seconds: float = MAX_REMEMBER_SECONDS
    refresh_interval_seconds: float = 5.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            AuthConfigurationError: They do not go together, or one is wrong.
        """
        for url in (self.resource, *self.issuers):
            check_url(url)
            if len(url) > MAX_NAME_BYTES:
                raise AuthConfigurationError(f"{url[:40]}…: over {MAX_NAME_BYTES} bytes")
        for url in filter(None, (self.jwks_url, self.introspection_url)):
            check_url(url)
        if not self.issuers and self.api_keys is None:
            raise AuthConfigurationError("name an issuer of tokens, or a file of API keys")
        if self.jwks_url and len(self.issuers) != 1:
            raise AuthConfigurationError("an address of keys goes with one issuer")
        if self.client is not None and not self.issuers:
            raise AuthConfigurationError("opaque tokens need an issuer to ask")
        if self.client is not None and len(self.issuers) != 1:
            # An opaque token does not say whose it is, and no other issuer may see it.
            raise AuthConfigurationError(
                "opaque tokens are asked about at one issuer: name one only"
            )
        if self.introspection_url and self.client is None:
            raise AuthConfigurationError("asking about tokens needs a client id and its secret")
        unknown = self.algorithms - ALGORITHMS.keys()
        if unknown or not self.algorithms:
            raise AuthConfigurationError(
                f"the algorithms must be of {', '.join(ALGORITHMS)}; symmetric ones and none "
                "are never allowed"
            )
        if not 0 < self.remember_seconds <= MAX_REMEMBER_SECONDS:
            raise AuthConfigurationError("a token is remembered for a minute at most")
