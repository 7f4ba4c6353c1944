"""Reading the one bearer token of a request.

Pure. Source: RFC 6750, section 2.1 (`b64token`); a token in a query or a body is not looked at.
"""

import re
from collections.abc import Sequence
from typing import Final

from linkspan_auth.errors import CredentialError
from linkspan_auth.model import Reason

MAX_TOKEN_CHARS: Final = 16 * 1024
"""The longest token that is looked at: far above any in use, far below what costs anything."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def read_bearer(authorization: Sequence[str]) -> str:
    """Return the token.

    Args:
        authorization: Every value of the header `Authorization`, trimmed.

    Raises:
        CredentialError: There is none, there are several, or it cannot be a token.
    """
    if not authorization:
        raise CredentialError(Reason.MISSING)
    if len(authorization) > 1:
        raise CredentialError(Reason.SEVERAL)
    scheme, _, rest = authorization[0].partition(" ")
    if scheme.lower() != "bearer":
        raise CredentialError(Reason.NOT_BEARER)
    token = rest.strip(" ")
    if len(token) > MAX_TOKEN_CHARS:
        raise CredentialError(Reason.TOO_LARGE)
    if _TOKEN.fullmatch(token) is None:
        raise CredentialError(Reason.BAD_SYNTAX)
    return token
