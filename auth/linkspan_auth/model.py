"""What comes of a look at a credential: somebody, or a reason why nobody.

Pure. The table of reasons is the one place that gives a reason its HTTP status and its error code.

Sources: RFC 6750, section 3 (no error code where no credential came) and 3.1 (the codes); the
authorization page of MCP 2025-11-25 (400, 401, 403).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

CredentialKind: TypeAlias = Literal["jwt", "opaque", "api_key"]


class Reason(Enum):
    """Why a request is not let in; the value is low in cardinality and says nothing of the token."""

    MISSING = "missing"
    NOT_BEARER = "not_bearer"
    SEVERAL = "several_credentials"
    BAD_SYNTAX = "bad_syntax"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    WRONG_TYPE = "wrong_type"
    ALGORITHM = "algorithm_not_allowed"
    UNKNOWN_ISSUER = "unknown_issuer"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WRONG_AUDIENCE = "wrong_audience"
    BAD_CLAIM = "bad_claim"
    INACTIVE = "inactive"
    UNKNOWN_API_KEY = "unknown_api_key"
    REVOKED = "revoked"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    ISSUER_AWAY = "issuer_unavailable"
    CHECK_AWAY = "check_unavailable"
    BUSY = "busy"


Outcome: TypeAlias = Literal["verified", "missing", "invalid", "forbidden", "unavailable"]


@dataclass(frozen=True, slots=True)
class _Row:
    status: int
    error: str
    outcome: Outcome


_INVALID: Final = _Row(401, "invalid_token", "invalid")
_AWAY: Final = _Row(503, "", "unavailable")

_ROWS: Final[Mapping[Reason, _Row]] = MappingProxyType(
    {
        Reason.MISSING: _Row(401, "", "missing"),
        Reason.NOT_BEARER: _Row(401, "", "missing"),
        Reason.SEVERAL: _Row(400, "invalid_request", "invalid"),
        Reason.BAD_SYNTAX: _Row(400, "invalid_request", "invalid"),
        Reason.INSUFFICIENT_SCOPE: _Row(403, "insufficient_scope", "forbidden"),
        Reason.ISSUER_AWAY: _AWAY,
        Reason.CHECK_AWAY: _AWAY,
        Reason.BUSY: _AWAY,
    }
)
"""All others are `invalid_token`."""


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """Who calls, as a verified credential says.

    A remembered token gives the same object again, so that what is made of it can be kept beside it:
    two are equal only if they are one.

    Attributes:
        issuer: Who vouches for the subject.
        subject: The caller, unique at the issuer.
        resource: What the caller was admitted to (RFC 8707).
        kind: What the credential was.
        scopes: What it allows.
        expires_at: When it ends, in seconds since the Unix epoch; None if it does not.
        organization_id: The organization that it names; empty if none.
        account_id: The account that it names; its subject, if it names none.
        client_id: The OAuth client that it was issued to; empty if it does not say.
    """

    issuer: str
    subject: str
    resource: str
    kind: CredentialKind
    scopes: frozenset[str] = frozenset()
    expires_at: float | None = None
    organization_id: str = ""
    account_id: str = ""
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a request is not let in.

    Attributes:
        reason: Why.
        scopes: What would be needed, sorted; for the challenge.
        retry_after_seconds: When to try again, in whole seconds; 0 where that would not help.
    """

    reason: Reason
    scopes: tuple[str, ...] = ()
    retry_after_seconds: int = 0

    @property
    def status(self) -> int:
        """The HTTP status."""
        return _ROWS.get(self.reason, _INVALID).status

    @property
    def error(self) -> str:
        """The error code of RFC 6750; empty for none."""
        return _ROWS.get(self.reason, _INVALID).error

    @property
    def outcome(self) -> Outcome:
        """What kind of end this is."""
        return _ROWS.get(self.reason, _INVALID).outcome
