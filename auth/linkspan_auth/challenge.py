"""The `WWW-Authenticate` header.

Pure. Sources: RFC 6750, section 3; RFC 9728, section 5.1 (`resource_metadata`); the authorization
page of MCP 2025-11-25 (`scope`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from linkspan_auth.model import Denial, Reason

_SENTENCES: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.SEVERAL: "more than one credential was sent",
        Reason.BAD_SYNTAX: "the credential is not a bearer token",
        Reason.TOO_LARGE: "the token is too long",
        Reason.MALFORMED: "the token cannot be read",
        Reason.WRONG_TYPE: "the token is not an access token",
        Reason.ALGORITHM: "the token's algorithm is not allowed",
        Reason.UNKNOWN_ISSUER: "the token is of another issuer",
        Reason.UNKNOWN_KEY: "the token's key is unknown",
        Reason.BAD_SIGNATURE: "the token's signature does not hold",
        Reason.EXPIRED: "the token has expired",
        Reason.NOT_YET_VALID: "the token is not valid yet",
        Reason.WRONG_AUDIENCE: "the token is for another resource",
        Reason.BAD_CLAIM: "a claim of the token is missing or wrong",
        Reason.INACTIVE: "the token is not active",
        Reason.UNKNOWN_API_KEY: "the key is unknown or has expired",
        Reason.REVOKED: "access was revoked",
        Reason.INSUFFICIENT_SCOPE: "the request needs more scopes",
    }
)


def sentence(reason: Reason) -> str:
    """Say in words what is wrong; nothing of the token itself. Empty if there is nothing to say."""
    return _SENTENCES.get(reason, "")


def challenge(denial: Denial, metadata_url: str) -> str:
    """Write the header's value.

    Args:
        denial: Why; a scope or URL in it never has quotes, which settings are checked for.
        metadata_url: Where the protected resource metadata are; empty for none.
    """
    fields: list[str] = []
    if denial.error:
        fields.append(f'error="{denial.error}"')
        fields.append(f'error_description="{sentence(denial.reason)}"')
    if denial.scopes:
        fields.append(f'scope="{" ".join(denial.scopes)}"')
    if metadata_url:
        fields.append(f'resource_metadata="{metadata_url}"')
    return f"Bearer {', '.join(fields)}" if fields else "Bearer"
