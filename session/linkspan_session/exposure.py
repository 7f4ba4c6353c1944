"""What can be set about who reaches a session server; each with its unit and default.

Above lies `config`. What is local, loopback and Unix sockets, is left to the machine; elsewhere who
calls shows a certificate, or the start is refused.
"""

from dataclasses import dataclass

from linkspan_process.errors import SettingError
from linkspan_process.hosts import is_local
from linkspan_process.ports import split_address
from linkspan_process.settings import parse_choice, parse_words, parse_yes, setting
from linkspan_process.tls import TlsConfig, check_tls
from linkspan_process.unix_sockets import is_unix, parse_listening


def _parse_peers(text: str) -> frozenset[str]:
    """Take names separated by commas, or nothing for everybody with a certificate."""
    names = parse_words(text)
    if text and not names:  # such as two variables that were never set, with a comma between them
        raise ValueError(f"must be names separated by commas, or nothing at all, not {text!r}")
    for name in sorted(names):
        if "*" in name:
            raise ValueError(f"must be whole names, since wildcards do not count here: {name!r}")
    return names


@dataclass(frozen=True)  # no slots: a class cannot have two parents that have them
class ExposureConfig(TlsConfig):
    """The settings of who may call."""

    tls_peers: frozenset[str] = setting(
        frozenset[str](),
        parse=_parse_peers,
        help="the names that certificates of callers must hold one of, DNS names, IP addresses or "
        "URIs such as spiffe://example.com/worker, separated by commas; session servers are callers, "
        "too; nothing is any certificate of the authorities",
        metavar="NAMES",
    )
    admin_address: str = setting(
        "",
        parse=parse_listening,
        help="the address for operators, HOST:PORT or unix:PATH: reflection and the calls that list, "
        "show and end sessions are there, and no longer where workers call",
        metavar="ADDRESS",
    )
    tls_admin_peers: frozenset[str] = setting(
        frozenset[str](),
        parse=_parse_peers,
        help="the names for the address of operators, where others may be let in; nothing is the same",
        metavar="NAMES",
    )
    socket_mode: str = setting(
        "600",
        parse=parse_choice("600", "660"),
        help="who may connect to Unix sockets: 600 is the same user, 660 the group as well",
        metavar="MODE",
    )
    insecure_no_tls: bool = setting(
        False,
        parse=parse_yes,
        help="serve on an address that others reach without TLS: whoever reaches it reads all that "
        "is said, lists all sessions, acts in any of them and ends them",
        metavar="yes",
    )


def check_exposure(config: ExposureConfig, host: str) -> None:
    """Refuse to serve others without asking them for a certificate, unless that was asked for.

    Args:
        config: The settings.
        host: The host to serve on, or `unix:/path`.

    Raises:
        SettingError: The settings say so, or are of use only with others that are missing.
    """
    check_tls(config)
    if config.tls_peers and not config.wants_tls:
        raise SettingError("--tls-peers: is of use with --tls-cert, --tls-key and --tls-ca only")
    if config.tls_admin_peers and not (config.wants_tls and config.admin_address):
        raise SettingError(
            "--tls-admin-peers: is of use with --admin-address and with --tls-cert, --tls-key and "
            "--tls-ca only"
        )
    if config.wants_tls or config.insecure_no_tls:
        return
    for flag, where in (("--host", host), ("--admin-address", admin_host(config))):
        if where and not is_local(where):
            raise SettingError(
                f"{flag} {where}: others reach this address, and nobody would be asked who they "
                "are; set --tls-cert, --tls-key and --tls-ca (docs/between-services.md), or serve on "
                "127.0.0.1 or a Unix socket; --insecure-no-tls, or "
                "LINKSPAN_SESSION_INSECURE_NO_TLS=yes, lets everybody act in every session"
            )


def admin_host(config: ExposureConfig) -> str:
    """Return the host of the operators' address, or `unix:/path`; empty for none."""
    address = config.admin_address
    return address if is_unix(address) else split_address(address)[0]
