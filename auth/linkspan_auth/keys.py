"""The keys of an issuer: a JWK set as it was fetched, and the one key that fits a token.

Pure. A key is found by the key id in a dictionary and by nothing else: whatever a token's `kid`,
`jku`, `x5u` or `jwk` says, nothing is opened or fetched for it. A symmetric key is never used, so
that no public value can be mistaken for a shared secret.

Sources: RFC 7517, sections 4 and 5; RFC 7518, section 3.1; RFC 8725, sections 3.1 and 3.10.
"""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from jwt import PyJWK, PyJWTError

from linkspan_auth.errors import FetchError

_RSA: Final = ("RSA", "")

ALGORITHMS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "RS256": _RSA,
        "RS384": _RSA,
        "RS512": _RSA,
        "PS256": _RSA,
        "PS384": _RSA,
        "PS512": _RSA,
        "ES256": ("EC", "P-256"),
        "ES384": ("EC", "P-384"),
        "ES512": ("EC", "P-521"),
        "EdDSA": ("OKP", "Ed25519"),
    }
)
"""The algorithms that can be allowed, each with the type and the curve of its keys."""

_MAX_KEYS: Final = 100

logger = logging.getLogger(__name__)


class KeySet:
    """The keys of one issuer, usable for signatures with allowed algorithms."""

    def __init__(self, keys: list[dict[str, Any]]) -> None:
        self._keys = keys
        self._built: dict[tuple[int, str], PyJWK | None] = {}

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """Return the key of that id that fits an algorithm; None if there is none.

        Without an id, the only key that fits is meant; of several, none (RFC 7515, section 4.1.4,
        leaves this to the application).
        """
        fitting = [
            index
            for index, key in enumerate(self._keys)
            if _fits(key, algorithm) and (kid is None or key.get("kid") == kid)
        ]
        if not fitting or (kid is None and len(fitting) > 1):
            return None
        return self._build(fitting[0], algorithm)

    def _build(self, index: int, algorithm: str) -> PyJWK | None:
        place = (index, algorithm)
        if place not in self._built:
            try:
                self._built[place] = PyJWK.from_dict(self._keys[index], algorithm)
            except (PyJWTError, ValueError, TypeError):
                logger.warning("a key of an issuer's key set cannot be read; it is not used")
                self._built[place] = None
        return self._built[place]


def read_key_set(document: object) -> KeySet:
    """Read a JWK set; keys that are not for signatures, or of an unknown type, are left out.

    Raises:
        FetchError: It is not one.
    """
    members: object = None
    if isinstance(document, dict):
        members = cast("dict[str, object]", document).get("keys")
    if not isinstance(members, list):
        raise FetchError("what came is no JWK set")
    found = cast("list[object]", members)
    keys = [cast("dict[str, Any]", each) for each in found[:_MAX_KEYS] if isinstance(each, dict)]
    return KeySet([key for key in keys if _is_for_signatures(key)])


def _is_for_signatures(key: dict[str, Any]) -> bool:
    kind: object = key.get("kty")
    if not isinstance(kind, str) or kind not in {"RSA", "EC", "OKP"}:
        return False
    if key.get("use", "sig") != "sig":
        return False
    operations: object = key.get("key_ops")
    return not isinstance(operations, list) or "verify" in operations


def _fits(key: dict[str, Any], algorithm: str) -> bool:
    kind, curve = ALGORITHMS[algorithm]
    if key.get("kty") != kind or (curve and key.get("crv") != curve):
        return False
    declared: object = key.get("alg", algorithm)
    return declared == algorithm
