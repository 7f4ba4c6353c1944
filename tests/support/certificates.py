"""Certificates for tests: an authority of the moment, and what it certifies, in files."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

LOOPBACK: Final = ("127.0.0.1", "localhost")

_YEAR: Final = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Files:
    """A certificate, its key, and whom its holder believes."""

    cert: Path
    key: Path
    ca: Path

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of worker and session server."""
        return (
            *("--tls-cert", str(self.cert)),
            *("--tls-key", str(self.key)),
            *("--tls-ca", str(self.ca)),
        )

    @property
    def grpcurl(self) -> tuple[str, ...]:
        """The flags of grpcurl."""
        return ("-cacert", str(self.ca), "-cert", str(self.cert), "-key", str(self.key))

    def replace_with(self, other: "Files") -> None:
        """Put another certificate and key in the place of these, one after the other."""
        self.key.write_bytes(other.key.read_bytes())
        self.cert.write_bytes(other.cert.read_bytes())
        self.ca.write_bytes(other.ca.read_bytes())


class Authority:
    """Certifies whatever it is asked to."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        """Make a key, and write the certificate.

        Args:
            folder: Where files go; made if it is not there.
            name: What it is called, and its file.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        now = datetime.now(UTC)
        certificate = (
            _builder(self._name, self._name, self._key, now - _YEAR, now + _YEAR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(
        self,
        name: str,
        names: Sequence[str] = LOOPBACK,
        *,
        ends_in: timedelta = _YEAR,
        begun_ago: timedelta = _YEAR,
        believes: "Authority | None" = None,
    ) -> Files:
        """Certify somebody.

        Args:
            name: What the files are called.
            names: What the certificate holds: IP addresses, URIs, and DNS names.
            ends_in: For how long it is good from now; may be less than nothing.
            begun_ago: For how long it has been.
            believes: Whom its holder believes; None for this authority.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        certificate = (
            _builder(_named(name), self._name, key, now - begun_ago, now + ends_in)
            .add_extension(
                x509.SubjectAlternativeName([_alternative(each) for each in names]), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        cert, key_file = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        cert.write_bytes(certificate.public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key_file.chmod(0o600)
        ca = self._folder / f"{name}.ca.pem"
        ca.write_bytes((believes or self).file.read_bytes())
        return Files(cert, key_file, ca)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
