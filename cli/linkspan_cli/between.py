"""What the command line does about TLS and addresses between worker and session servers.

Above lies `main`. Nothing here loads gRPC.
"""

import argparse
import dataclasses
import os
from typing import Final, Protocol, TypeVar

from linkspan_process.errors import SettingError
from linkspan_process.ports import check_port, split_address
from linkspan_process.settings import with_flags
from linkspan_process.tls import TlsConfig, check_tls
from linkspan_process.unix_sockets import check_socket, is_unix
from linkspan_session.config import SessionConfig
from linkspan_session.exposure import check_exposure
from linkspan_worker.config import WorkerConfig

C = TypeVar("C", WorkerConfig, SessionConfig)

_FIELDS: Final = tuple(field.name for field in dataclasses.fields(TlsConfig))


class _HasTls(Protocol):
    @property
    def wants_tls(self) -> bool: ...


def add_tls_flags(parser: argparse.ArgumentParser) -> None:
    """Add to `linkspan run` what it gives to session servers and workers alike."""
    for name, words in (
        ("tls-cert", "the certificate of all processes, in PEM, for TLS between them"),
        ("tls-key", "its private key"),
        ("tls-ca", "the authority that it is from"),
    ):
        parser.add_argument(f"--{name}", metavar="FILE", help=words)
    parser.add_argument(
        "--tls-server-name",
        metavar="NAME",
        help="the name that it holds (default: the address that the session servers serve on)",
    )


def with_tls(settings: C, parsed: argparse.Namespace) -> C:
    """Return settings with the flags of TLS put over them.

    Raises:
        SettingError: A flag's value is bad.
    """
    tls = with_flags(TlsConfig(**{name: getattr(settings, name) for name in _FIELDS}), parsed)
    return dataclasses.replace(settings, **{name: getattr(tls, name) for name in _FIELDS})


def tls_flags(config: TlsConfig) -> tuple[str, ...]:
    """Return the flags that say the same to a process."""
    given = {name: getattr(config, name) for name in _FIELDS}
    return tuple(f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value)


def check_session_servers(
    worker: WorkerConfig, session: SessionConfig, port: int, processes: int
) -> None:
    """Refuse what session servers would refuse, and what would keep workers from reaching them.

    Args:
        worker: The settings of the workers.
        session: Those of the session servers.
        port: The port of the first one; the others take free ones.
        processes: How many session servers there are to be.

    Raises:
        StartError: It cannot be.
    """
    check_tls(worker)
    check_exposure(session, session.host)
    if worker.wants_tls != session.wants_tls:
        one, other = (
            ("session servers", "workers") if session.wants_tls else ("workers", "session servers")
        )
        raise SettingError(
            f"the {one} are given a certificate and the {other} are not; --tls-cert, --tls-key and "
            "--tls-ca are for both"
        )
    admin = session.admin_address
    fixed = (is_unix(session.host) and "LINKSPAN_SESSION_HOST") or (
        bool(admin)
        and (is_unix(admin) or split_address(admin)[1] > 0)
        and "LINKSPAN_SESSION_ADMIN_ADDRESS"
    )
    if fixed and processes > 1:
        raise SettingError(f"{fixed}: --session-processes {processes} cannot all serve there")
    if is_unix(session.host):
        check_socket(session.host, flag="LINKSPAN_SESSION_HOST")
    else:
        check_port(session.host, port, flag="--session-port")


def hush_grpc(settings: _HasTls) -> None:
    """Keep gRPC's own words about each handshake that fails from the log, unless they are wanted.

    A stranger must not choose how fast a log grows; what an operator has to mend is said by us.
    """
    if settings.wants_tls:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def grpcurl_flags(address: str, config: TlsConfig) -> str:
    """Return what grpcurl needs before `list` to reach an address."""
    if is_unix(address):
        return f"-plaintext -unix {address.removeprefix('unix:')}"
    if not config.wants_tls:
        return f"-plaintext {address}"
    name = f" -servername {config.tls_server_name}" if config.tls_server_name else ""
    return f"-cacert {config.tls_ca} -cert {config.tls_cert} -key {config.tls_key}{name} {address}"
