"""An issuer: its metadata, found where the specifications put them, and its keys.

Sources: RFC 8414, section 3 (where, and that the issuer in it must be the one that was asked for);
OpenID Connect Discovery 1.0, section 4; the order is that of the authorization page of MCP 2025-11-25.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import urlsplit

from linkspan_auth.errors import FetchError
from linkspan_auth.fetching import Fetcher
from linkspan_auth.keys import KeySet, read_key_set
from linkspan_auth.refreshing import Refreshed

_METADATA_SECONDS: Final = 3600.0
KEYS_SECONDS: Final = 600.0
"""After how long keys are fetched anew, so that a withdrawn one goes out of use."""


@dataclass(frozen=True, slots=True)
class IssuerMetadata:
    """What an issuer says of itself, as far as it matters here; empty for what it does not say.

    Attributes:
        jwks_uri: Where its keys are.
        introspection_endpoint: Where tokens can be asked about.
    """

    jwks_uri: str = ""
    introspection_endpoint: str = ""


def metadata_urls(issuer: str) -> list[str]:
    """List where an issuer's metadata may be, the likeliest first."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    urls = [
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}/.well-known/openid-configuration{path}",
    ]
    return [*urls, f"{origin}{path}/.well-known/openid-configuration"] if path else urls


def read_metadata(document: object, issuer: str) -> IssuerMetadata:
    """Read an issuer's metadata.

    Raises:
        FetchError: They are not metadata, or another issuer's.
    """
    if not isinstance(document, dict):
        raise FetchError(f"{issuer}: its metadata are no JSON object")
    fields = cast("Mapping[str, object]", document)
    if fields.get("issuer") != issuer:
        raise FetchError(f"{issuer}: its metadata name another issuer")

    def text(name: str) -> str:
        value = fields.get(name)
        return value if isinstance(value, str) else ""

    return IssuerMetadata(text("jwks_uri"), text("introspection_endpoint"))


class Issuer:
    """One issuer whose tokens are taken."""

    def __init__(
        self,
        name: str,
        fetcher: Fetcher,
        tasks: asyncio.TaskGroup,
        *,
        jwks_url: str,
        min_interval_seconds: float,
    ) -> None:
        """Make an issuer of which nothing is known yet.

        Args:
            name: The issuer's identifier, a URL.
            fetcher: Fetches.
            tasks: Owns the fetches.
            jwks_url: Where its keys are; empty if its metadata say so.
            min_interval_seconds: How often an unknown key may have its keys fetched.
        """
        self.name = name
        self._fetcher = fetcher
        self._jwks_url = jwks_url
        self.metadata = Refreshed(
            f"the metadata of {name}",
            self._load_metadata,
            tasks,
            max_age_seconds=_METADATA_SECONDS,
            min_interval_seconds=min_interval_seconds,
        )
        self.keys = Refreshed(
            f"the key set of {name}",
            self._load_keys,
            tasks,
            max_age_seconds=KEYS_SECONDS,
            min_interval_seconds=min_interval_seconds,
        )

    def stop(self) -> None:
        """Give up what is being fetched."""
        self.metadata.stop()
        self.keys.stop()

    async def _load_metadata(self) -> IssuerMetadata:
        for url in metadata_urls(self.name):
            try:
                return read_metadata(await self._fetcher.get(url), self.name)
            except FetchError as error:
                if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
                    raise
        raise FetchError(f"{self.name}: it has no metadata where they should be")

    async def _load_keys(self) -> KeySet:
        url = self._jwks_url or (await self.metadata.get()).jwks_uri
        if not url:
            raise FetchError(f"{self.name}: its metadata name no jwks_uri")
        return read_key_set(await self._fetcher.get(url))
