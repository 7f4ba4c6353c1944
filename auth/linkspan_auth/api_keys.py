"""API keys: made here, and kept in a file as digests.

A key is 256 bits from the operating system's random source behind a prefix that secret scanners can
look for. Because nobody can guess such a value, one SHA-256 of it is as good as a slow hash and costs
no request anything. The file has one JSON object a line; it is read again when it changes, and a file
that cannot be read any more leaves the keys that were read last.
"""

import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from linkspan_auth.claims import MAX_NAME_BYTES
from linkspan_auth.errors import AuthConfigurationError, CredentialError, KeyFileError
from linkspan_auth.model import Identity, Reason
from linkspan_auth.scopes import read_scopes

PREFIX: Final = "linkspan_"
"""What every key begins with."""

ISSUER: Final = "linkspan:api-keys"
"""The issuer of sessions that were opened with a key; no URL, so no token can name it."""

_SECRET_BYTES: Final = 32
_ID_CHARS: Final = 8
_LOOK_SECONDS: Final = 1.0
"""How often the file is looked at."""

_FIELDS: Final = frozenset({"id", "sha256", "subject", "scopes", "expires", "organization"})
_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")
_LAST_SECOND: Final = 2.0**53
"""Up to here seconds are exact as a float; it is also what keeps NaN and infinity out."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, as it stands in the file.

    Attributes:
        id: What people call it: the beginning of its digest.
        sha256: Its digest, in hex.
        subject: Whose it is; several keys may have one subject, and then share its sessions.
        scopes: What it allows.
        expires: When it ends, in seconds since the Unix epoch; None if it does not.
        organization: The organization it belongs to; empty for none.
    """

    id: str
    sha256: str
    subject: str
    scopes: frozenset[str] = frozenset()
    expires: float | None = None
    organization: str = ""

    def line(self) -> str:
        """Write it as it stands in the file, without the line's end."""
        fields: dict[str, object] = {"id": self.id, "sha256": self.sha256, "subject": self.subject}
        if self.scopes:
            fields["scopes"] = sorted(self.scopes)
        if self.expires is not None:
            fields["expires"] = self.expires
        if self.organization:
            fields["organization"] = self.organization
        return json.dumps(fields)


def make_key(
    subject: str,
    *,
    scopes: frozenset[str] = frozenset(),
    expires: float | None = None,
    organization: str = "",
) -> tuple[str, ApiKey]:
    """Make a key; returns it, to be shown once, and what goes into the file."""
    key = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    digest = _digest(key)
    return key, ApiKey(digest[:_ID_CHARS], digest, subject, scopes, expires, organization)


def append_key(path: Path, key: ApiKey) -> None:
    """Add a key to a file, which its owner alone can read if it is made here.

    Raises:
        KeyFileError: There is no such folder, or the file holds something else than keys; then it
            stays as it is.
        OSError: The file cannot be read or written.
    """
    if not path.parent.is_dir():
        raise KeyFileError(f"{path}: there is no folder {path.parent}")
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "rb+", buffering=0) as file:
        there = file.readall()
        _parse_file(path, there)
        gap = b"\n" if there and not there.endswith(b"\n") else b""
        file.write(gap + key.line().encode() + b"\n")


def parse_keys(text: str) -> Mapping[str, ApiKey]:
    """Read the keys of a file, by digest; empty lines and lines that begin with `#` do not count.

    Raises:
        AuthConfigurationError: A line is not a key; the message says which.
    """
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            try:
                key = _read(_json_of(line))
            except ValueError as error:
                raise AuthConfigurationError(f"line {number}: {error}") from None
            keys[key.sha256] = key
    return MappingProxyType(keys)


class ApiKeyFile:
    """The keys of a file, as they are now."""

    def __init__(self, path: Path, resource: str) -> None:
        """Read the file.

        Args:
            path: The file.
            resource: The resource that callers are admitted to.

        Raises:
            KeyFileError: It cannot be read, or a line is not a key.
        """
        self._path = path
        self._resource = resource
        self._look_at = 0.0
        self._version: tuple[int, int, int] | None = None
        self._keys: Mapping[str, ApiKey] = {}
        try:
            self._read()
        except OSError as error:
            raise KeyFileError(f"{path}: {error.strerror or error}") from None

    def identify(self, key: str) -> Identity:
        """Say whose a key is.

        Raises:
            CredentialError: There is no such key, or it has expired.
        """
        self._refresh()
        found = self._keys.get(_digest(key))
        if found is None:
            raise CredentialError(Reason.UNKNOWN_API_KEY)
        if found.expires is not None and time.time() >= found.expires:
            raise CredentialError(Reason.EXPIRED)
        return Identity(
            issuer=ISSUER,
            subject=found.subject,
            resource=self._resource,
            kind="api_key",
            scopes=found.scopes,
            expires_at=found.expires,
            organization_id=found.organization,
            account_id=found.subject,
            client_id=found.id,
        )

    def _refresh(self) -> None:
        """Read the file again if it has changed; it is small and local, so this does not wait."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        try:
            self._read()
        except OSError as error:
            why = f"{self._path}: {error.strerror or error}"
            logger.warning("the keys read before stay, the file cannot be read: %s", why)
        except KeyFileError as error:
            logger.warning("the keys read before stay, the file cannot be read: %s", error)

    def _read(self) -> None:
        state = self._path.stat()
        version = (state.st_mtime_ns, state.st_size, state.st_ino)
        if version != self._version:
            self._keys = _parse_file(self._path, self._path.read_bytes())
            self._version = version


def _parse_file(path: Path, content: bytes) -> Mapping[str, ApiKey]:
    try:
        return parse_keys(content.decode())
    except UnicodeDecodeError:
        raise KeyFileError(f"{path}: is no file of API keys: it is no text") from None
    except AuthConfigurationError as error:
        raise KeyFileError(f"{path}: is no file of API keys: {error}") from None


def _json_of(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is no line as `linkspan api-key` writes it") from None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("latin-1")).hexdigest()


def _read(value: object) -> ApiKey:
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")  # noqa: TRY004 - as for every other bad line
    fields = cast("dict[str, Any]", value)
    unknown = fields.keys() - _FIELDS
    if unknown:
        raise ValueError(f"{min(unknown)!r} is not known")
    digest, subject = fields.get("sha256"), fields.get("subject")
    scopes, expires = fields.get("scopes", []), fields.get("expires")
    if not isinstance(digest, str) or not _HEX.fullmatch(digest):
        raise ValueError("sha256 must be 64 digits in hex")
    if not isinstance(subject, str) or not 0 < len(subject.encode()) <= MAX_NAME_BYTES:
        raise ValueError(f"subject must be text of 1 to {MAX_NAME_BYTES} bytes")
    allowed = read_scopes(scopes)
    if allowed is None:
        raise ValueError("scopes must be a list of words")
    if isinstance(expires, bool) or not isinstance(expires, int | float | None):
        raise ValueError("expires must be seconds since 1970")  # noqa: TRY004 - as above
    if expires is not None and not 0 <= expires <= _LAST_SECOND:
        raise ValueError("expires must be seconds since 1970")
    return ApiKey(
        id=str(fields.get("id") or digest[:_ID_CHARS]),
        sha256=digest.lower(),
        subject=subject,
        scopes=allowed,
        expires=expires,
        organization=str(fields.get("organization") or ""),
    )
