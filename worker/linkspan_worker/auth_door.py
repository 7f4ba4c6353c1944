"""The door of a worker with authentication: `linkspan_auth`'s decisions as HTTP has them.

Above lie `endpoint`, through `entry`, and `app`, which serves the metadata; below lies
`linkspan_auth`. Invariants: a request is let in by a verified identity and by nothing else; neither
spans nor logs nor answers hold any part of a credential.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Final

from opentelemetry.util.types import AttributeValue

from linkspan_auth import (
    AuthConfigurationError,
    Authenticator,
    AuthSettings,
    ClientSecret,
    Denial,
    Identity,
    KeyFileError,
    ResourceMetadata,
    authenticating,
    challenge,
    check_url,
    load_check,
    parse_rules,
    resource_metadata,
    sentence,
)
from linkspan_contract.envelope import INTERNAL_ERROR, INVALID_REQUEST, Batch, Envelope, Response
from linkspan_process.errors import StartError
from linkspan_worker.auth_config import AuthConfig
from linkspan_worker.entry import Entry
from linkspan_worker.failures import Refusal
from linkspan_worker.headers import Headers
from linkspan_worker.session_client import Principal

_MAX_VALUE_CHARS: Final = 256
_MAX_CLIENT_CHARS: Final = 2048
_NOBODY: Final = Principal()

_TITLES: Final[Mapping[int, str]] = {
    HTTPStatus.BAD_REQUEST: "Bad request",
    HTTPStatus.UNAUTHORIZED: "Unauthorized",
    HTTPStatus.FORBIDDEN: "Forbidden",
    HTTPStatus.SERVICE_UNAVAILABLE: "Whether the credential is good cannot be told now; try again",
}


class AuthDoor:
    """Lets in whoever has a good credential."""

    def __init__(
        self,
        authenticator: Authenticator,
        metadata: ResourceMetadata | None,
        *,
        ask_again_seconds: float,
    ) -> None:
        """Make the door.

        Args:
            authenticator: Decides.
            metadata: The protected resource metadata; None if no issuer is to be told of.
            ask_again_seconds: See `Door.ask_again_seconds`.
        """
        self.ask_again_seconds: Final = ask_again_seconds
        self._authenticator = authenticator
        self._metadata_url = metadata.url if metadata is not None else ""
        self.documents: Mapping[str, str] = (
            dict.fromkeys(metadata.paths, metadata.text) if metadata is not None else {}
        )
        """What is served to whoever asks, by path."""

    async def enter(self, headers: Headers) -> Entry:
        """See `Door.enter`."""
        found = await self._authenticator.authenticate(headers.all("authorization"))
        if isinstance(found, Denial):
            return Entry(_NOBODY, _denied(found), self._refusal(found))
        return _admit(found)

    def permit(self, entry: Entry, message: Envelope | Batch) -> Entry:
        """See `Door.permit`."""
        if not isinstance(entry, _Admitted):  # it was not let in
            return entry
        denial = self._authenticator.permit(entry.identity, _calls(message))
        if denial is None:
            return entry
        attributes = {**entry.attributes, **_denied(denial)}
        return Entry(entry.principal, attributes, self._refusal(denial))

    def _refusal(self, denial: Denial) -> Refusal:
        title, detail = _TITLES[denial.status], sentence(denial.reason)
        if denial.retry_after_seconds:
            headers = (("retry-after", str(denial.retry_after_seconds)),)
        else:
            headers = (("www-authenticate", challenge(denial, self._metadata_url)),)
        away = denial.status == HTTPStatus.SERVICE_UNAVAILABLE
        return Refusal(
            denial.status,
            INTERNAL_ERROR if away else INVALID_REQUEST,
            f"{title}: {detail}" if detail else title,
            denial.reason.value,
            headers=headers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Admitted(Entry):
    """Somebody who was let in.

    Attributes:
        identity: Who, and what they may do.
    """

    identity: Identity


@lru_cache(1024)
def _admit(identity: Identity) -> _Admitted:
    """Let somebody in; remembered, because a remembered token is the same identity again."""
    return _Admitted(
        Principal(
            issuer=identity.issuer,
            subject=identity.subject,
            resource=identity.resource,
            client_id=identity.client_id[:_MAX_CLIENT_CHARS],
        ),
        _verified(identity),
        ends_at=identity.expires_at,
        identity=identity,
    )


@asynccontextmanager
async def open_door(config: AuthConfig, address: str) -> AsyncGenerator[AuthDoor]:
    """Keep a door for as long as the block lasts.

    Args:
        config: The settings, which want authentication.
        address: Where the worker serves MCP, for a resource that is not named.

    Raises:
        StartError: A setting is wrong, or a file cannot be read.
    """
    try:
        settings = read_settings(config, address)
        async with authenticating(settings) as authenticator:
            metadata = _metadata_of(settings, address)
            yield AuthDoor(authenticator, metadata, ask_again_seconds=settings.remember_seconds)
    except KeyFileError as error:
        raise StartError(f"authentication: --auth-api-keys {error}") from None
    except AuthConfigurationError as error:
        raise StartError(f"authentication: {error}") from None


def read_settings(config: AuthConfig, address: str) -> AuthSettings:
    """Read the settings, and the files that they name.

    Raises:
        AuthConfigurationError: A setting is wrong, or a file cannot be read.
    """
    client = None
    if config.auth_client_id or config.auth_client_secret_file is not None:
        if not config.auth_client_id or config.auth_client_secret_file is None:
            raise AuthConfigurationError(
                "--auth-client-id and --auth-client-secret-file go together"
            )
        secret = _text_of(config.auth_client_secret_file).strip()
        client = ClientSecret(config.auth_client_id, secret)
    _check_urls("--auth-resource", config.auth_resource)
    _check_urls("--auth-issuer", *sorted(config.auth_issuer))
    _check_urls("--auth-jwks-url", config.auth_jwks_url)
    _check_urls("--auth-introspection-url", config.auth_introspection_url)
    rules = "" if config.auth_scope_rules is None else _text_of(config.auth_scope_rules)
    return AuthSettings(
        resource=config.auth_resource or address,
        issuers=config.auth_issuer,
        audiences=config.auth_audience,
        algorithms=config.auth_algorithms,
        jwks_url=config.auth_jwks_url,
        client=client,
        introspection_url=config.auth_introspection_url,
        api_keys=config.auth_api_keys,
        rules=parse_rules(rules, config.auth_scopes),
        check=load_check(config.auth_check) if config.auth_check else None,
        check_timeout_seconds=config.auth_check_timeout,
        remember_seconds=config.auth_remember,
        refresh_interval_seconds=config.auth_refresh_interval,
    )


def _check_urls(flag: str, *urls: str) -> None:
    for url in filter(None, urls):
        try:
            check_url(url)
        except AuthConfigurationError as error:
            raise AuthConfigurationError(f"{flag}: {error}") from None


def _metadata_of(settings: AuthSettings, address: str) -> ResourceMetadata | None:
    if not settings.issuers:
        return None
    path = address.partition("://")[2].partition("/")[2]
    return resource_metadata(settings.resource, settings.issuers, settings.rules.all(), f"/{path}")


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AuthConfigurationError(f"{path} cannot be read: {error}") from None


def _verified(identity: Identity) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "mcp.auth.verified": True,
        "mcp.auth.outcome": "verified",
        "mcp.auth.credential_type": identity.kind,
        "mcp.auth.account_id": identity.account_id[:_MAX_VALUE_CHARS],
    }
    if identity.organization_id:
        attributes["mcp.auth.organization_id"] = identity.organization_id[:_MAX_VALUE_CHARS]
    return attributes


def _denied(denial: Denial) -> dict[str, AttributeValue]:
    return {
        "mcp.auth.verified": denial.outcome == "forbidden",
        "mcp.auth.outcome": denial.outcome,
        "mcp.auth.invalid_reason": denial.reason.value,
    }


def _calls(message: Envelope | Batch) -> Iterator[tuple[str, str | None]]:
    """List the methods of a message, and the tools that it calls."""
    for each in message.messages if isinstance(message, Batch) else (message,):
        if not isinstance(each, Response):
            name: object = (each.params or {}).get("name")
            yield each.method, name if isinstance(name, str) else None
