"""JWT access tokens: read, found fit for a look at their signature, and verified.

Pure. The signature is PyJWT's affair, what the claims must say that of `claims`. The order of the
rungs is from what costs nothing to what costs something, so that a bad token is cheap.

Sources: RFC 7519; RFC 9068, section 4 (`typ`); RFC 8725 (best practice); RFC 7515, 4.1.11 (`crit`).
"""

from dataclasses import dataclass
from typing import Final

import jwt
from jwt import PyJWK

from linkspan_auth.claims import Terms, identify
from linkspan_auth.errors import CredentialError
from linkspan_auth.model import Identity, Reason

_TYPES: Final = frozenset({"at+jwt", "application/at+jwt", "jwt"})
"""What `typ` may be, in any case. Many issuers write `JWT`, or nothing at all, on access tokens."""

_MAX_KID_CHARS: Final = 256
_JWT_DOTS: Final = 2

_REQUIRED: Final = ["iss", "sub", "aud", "exp"]


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says of itself; nothing of it is to be believed.

    Attributes:
        token: The token.
        algorithm: How it claims to be signed; one that is allowed.
        kid: The id of the key, if it names one.
        issuer: Who claims to have issued it.
    """

    token: str
    algorithm: str
    kid: str | None
    issuer: str


def looks_like_jwt(token: str) -> bool:
    """Tell whether a token is to be taken for a JWT: three parts, the first a JSON object."""
    return token.count(".") == _JWT_DOTS and token.startswith("ey")


def read_unverified(token: str, algorithms: frozenset[str]) -> Unverified:
    """Read what is needed to find the key.

    Raises:
        CredentialError: It cannot be read, or is refused whatever its signature says.
    """
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise CredentialError(Reason.MALFORMED) from None
    kid: object = header.get("kid")
    kind: object = header.get("typ", "JWT")
    algorithm: object = header.get("alg")
    if "crit" in header:  # no extension is understood here, and PyJWT lets one pass
        raise CredentialError(Reason.MALFORMED)
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise CredentialError(Reason.ALGORITHM)
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise CredentialError(Reason.WRONG_TYPE)
    if kid is not None and not (isinstance(kid, str) and len(kid) <= _MAX_KID_CHARS):
        raise CredentialError(Reason.MALFORMED)
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        raise CredentialError(Reason.MALFORMED) from None
    issuer: object = claims.get("iss")
    if not isinstance(issuer, str):
        raise CredentialError(Reason.UNKNOWN_ISSUER)
    return Unverified(token, algorithm, kid, issuer)


def verify(unverified: Unverified, key: PyJWK, terms: Terms, now: float) -> Identity:
    """Verify a token.

    Args:
        unverified: The token, whose issuer is one of ours.
        key: The issuer's key.
        terms: What it must say.
        now: The wall clock, in seconds since the Unix epoch.

    Raises:
        CredentialError: It is not good.
    """
    try:
        claims = jwt.decode(
            unverified.token,
            key,
            algorithms=[unverified.algorithm],
            issuer=unverified.issuer,
            options={
                "require": _REQUIRED,
                "enforce_minimum_key_length": True,
                # These are looked at in `claims`, as for every other credential.
                "verify_aud": False,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.InvalidSignatureError:
        raise CredentialError(Reason.BAD_SIGNATURE) from None
    except jwt.InvalidAlgorithmError:
        raise CredentialError(Reason.ALGORITHM) from None
    except jwt.InvalidKeyError:  # shorter than RFC 7518 allows
        raise CredentialError(Reason.UNKNOWN_KEY) from None
    except (jwt.MissingRequiredClaimError, jwt.InvalidIssuerError):
        raise CredentialError(Reason.BAD_CLAIM) from None
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        raise CredentialError(Reason.MALFORMED) from None
    return identify(claims, unverified.issuer, terms, "jwt", now)
