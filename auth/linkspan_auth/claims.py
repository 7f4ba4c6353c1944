"""From the claims of a token, or of an introspection's answer, to who that is.

Pure. Sources: RFC 9068, section 2.2 (JWT access tokens); RFC 7662, section 2.2; RFC 8707, section 2
(the audience is the resource).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from linkspan_auth.errors import CredentialError
from linkspan_auth.model import CredentialKind, Identity, Reason
from linkspan_auth.scopes import read_scopes

MAX_NAME_BYTES: Final = 2048
"""The longest issuer, subject or resource."""

CLOCK_SKEW_SECONDS: Final = 30.0
"""How far an issuer's clock may be ahead of ours. It makes no token last longer."""

_ORGANIZATIONS: Final = ("organization_id", "org_id", "tid")
"""Where issuers put the organization: no specification has a name for it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a token must say.

    Attributes:
        resource: The resource that callers are admitted to.
        audiences: What it may be called in a token; one of them must be there.
    """

    resource: str
    audiences: frozenset[str]


def identify(
    claims: Mapping[str, Any], issuer: str, terms: Terms, kind: CredentialKind, now: float
) -> Identity:
    """Check claims and say whose they are.

    Args:
        claims: All claims, whose signature or source has been checked.
        issuer: Who vouches for them.
        terms: What they must say.
        kind: What they came with.
        now: The wall clock, in seconds since the Unix epoch.

    Raises:
        CredentialError: A claim is missing or does not do.
    """
    if claims.get("iss", issuer) != issuer:
        raise CredentialError(Reason.UNKNOWN_ISSUER)
    expires_at = _time(claims, "exp")
    if expires_at is not None and now >= expires_at:
        raise CredentialError(Reason.EXPIRED)
    for name in ("nbf", "iat"):
        begins_at = _time(claims, name)
        if begins_at is not None and begins_at > now + CLOCK_SKEW_SECONDS:
            raise CredentialError(Reason.NOT_YET_VALID)
    if not terms.audiences & _audiences(claims.get("aud")):
        raise CredentialError(Reason.WRONG_AUDIENCE)
    subject = _text(claims, "sub")
    scopes = read_scopes(claims.get("scope", claims.get("scp")))
    if not subject or len(subject.encode(errors="replace")) > MAX_NAME_BYTES or scopes is None:
        raise CredentialError(Reason.BAD_CLAIM)
    if not _is_writable(subject):
        raise CredentialError(Reason.BAD_CLAIM)
    return Identity(
        issuer=issuer,
        subject=subject,
        resource=terms.resource,
        kind=kind,
        scopes=scopes,
        expires_at=expires_at,
        organization_id=next(filter(None, (_text(claims, name) for name in _ORGANIZATIONS)), ""),
        account_id=_text(claims, "account_id") or subject,
        client_id=_text(claims, "client_id") or _text(claims, "azp"),
    )


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """Read a NumericDate (RFC 7519, section 2)."""
    value: object = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise CredentialError(Reason.BAD_CLAIM)
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def _audiences(value: object) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset({value})
    if isinstance(value, list):
        members = cast("list[object]", value)
        return frozenset(each for each in members if isinstance(each, str))
    return frozenset()


def _text(claims: Mapping[str, Any], name: str) -> str:
    value: object = claims.get(name)
    return value if isinstance(value, str) and _is_writable(value) else ""


def _is_writable(text: str) -> bool:
    """Tell whether UTF-8 can carry it: half a surrogate pair cannot be sent on."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
