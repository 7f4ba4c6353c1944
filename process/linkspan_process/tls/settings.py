"""What can be set about TLS between services; the same for worker and session server.

Above lie the services' configs. All three files are given or none is: a session server that shows a
certificate asks for one, and is a client of other session servers itself.
"""

from dataclasses import dataclass
from pathlib import Path

from linkspan_process.errors import SettingError
from linkspan_process.settings import parse_optional_path, parse_text, setting


@dataclass(frozen=True)  # no slots: a class cannot have two parents that have them
class TlsConfig:
    """The settings of TLS; without files there is none."""

    tls_cert: Path | None = setting(
        None,
        parse=parse_optional_path,
        help="the file with the certificate of this process, and those that link it to its "
        "authority, in PEM; read again when it changes",
        metavar="FILE",
    )
    tls_key: Path | None = setting(
        None,
        parse=parse_optional_path,
        help="the file with the certificate's private key, in PEM, not encrypted",
        metavar="FILE",
    )
    tls_ca: Path | None = setting(
        None,
        parse=parse_optional_path,
        help="the file with the authorities whose certificates are believed, in PEM; best one of "
        "your own that certifies nothing else",
        metavar="FILE",
    )
    tls_server_name: str = setting(
        "",
        parse=parse_text,
        help="the name that certificates of session servers must hold; nothing is the host by "
        "which they are called",
        metavar="NAME",
    )

    @property
    def wants_tls(self) -> bool:
        """Whether the services speak TLS with each other."""
        return self.tls_cert is not None


def check_tls(config: TlsConfig) -> None:
    """Refuse files that are of use only with others.

    Raises:
        SettingError: Some are missing, and the message names them.
    """
    files = {"--tls-cert": config.tls_cert, "--tls-key": config.tls_key, "--tls-ca": config.tls_ca}
    missing = [flag for flag, path in files.items() if path is None]
    if 0 < len(missing) < len(files):
        raise SettingError(
            f"{' and '.join(missing)}: missing; --tls-cert, --tls-key and --tls-ca go together"
        )
    if missing and config.tls_server_name:
        raise SettingError(
            "--tls-server-name: is of use with --tls-cert, --tls-key and --tls-ca only"
        )
