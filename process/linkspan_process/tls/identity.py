"""What the three files of TLS hold, checked before anything is done with it.

Above lies `watching`. What gRPC would find out at somebody's handshake, and tell nobody, is found out
here: files that cannot be read, that hold something else, a key of another certificate, a
certificate whose time is over.
"""

import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from linkspan_process.errors import StartError
from linkspan_process.tls.settings import TlsConfig


class TlsFileError(StartError):
    """A file cannot be used; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process is to others, and whom it believes.

    Attributes:
        cert: Its certificate and those that link it to its authority, in PEM.
        key: The private key, in PEM.
        ca: The authorities that it believes, in PEM.
        begins_at: When the certificate begins to be good, in seconds since the Unix epoch.
        ends_at: When it ends to be.
    """

    cert: bytes
    key: bytes
    ca: bytes
    begins_at: float
    ends_at: float

    def __repr__(self) -> str:
        """Leave the key out of whatever this is printed to."""
        return f"Identity(ends_at={self.ends_at})"


def load_identity(config: TlsConfig, now_seconds: float) -> Identity:
    """Read the files of a config that has all three.

    Args:
        config: Names them.
        now_seconds: When the certificate has to be good, in seconds since the Unix epoch.

    Raises:
        TlsFileError: One cannot be used.
    """
    # Loaded by processes that speak TLS, and no others.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    cert, key, ca = (
        _read(flag, path)
        for flag, path in (
            ("--tls-cert", config.tls_cert),
            ("--tls-key", config.tls_key),
            ("--tls-ca", config.tls_ca),
        )
    )
    try:
        leaf = x509.load_pem_x509_certificates(cert)[0]
    except ValueError:
        raise TlsFileError(f"--tls-cert {config.tls_cert}: holds no certificate in PEM") from None
    try:
        x509.load_pem_x509_certificates(ca)
    except ValueError:
        raise TlsFileError(f"--tls-ca {config.tls_ca}: holds no certificate in PEM") from None
    try:
        private = load_pem_private_key(key, password=None)
    except TypeError:
        raise TlsFileError(f"--tls-key {config.tls_key}: is encrypted; give it in clear") from None
    except Exception:  # noqa: BLE001 - whatever is wrong with it, no part of a key may be told
        raise TlsFileError(f"--tls-key {config.tls_key}: holds no private key in PEM") from None
    if private.public_key() != leaf.public_key():
        raise TlsFileError(
            f"--tls-key {config.tls_key}: is not the key of the certificate in {config.tls_cert}"
        )
    now = datetime.fromtimestamp(now_seconds, UTC)
    if leaf.not_valid_after_utc <= now:
        raise TlsFileError(
            f"--tls-cert {config.tls_cert}: ended on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        )
    if leaf.not_valid_before_utc > now:
        raise TlsFileError(
            f"--tls-cert {config.tls_cert}: begins on {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        )
    return Identity(
        cert,
        key,
        ca,
        begins_at=leaf.not_valid_before_utc.timestamp(),
        ends_at=leaf.not_valid_after_utc.timestamp(),
    )


def is_open_to_others(path: Path) -> bool:
    """Tell whether any user of this machine may read a file; False if nobody can tell."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _read(flag: str, path: Path | None) -> bytes:
    assert path is not None  # noqa: S101 - the caller has all three
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsFileError(f"{flag} {path}: {error.strerror}") from None
