"""The address of a Redis or Valkey, or of a cluster of them, as `--store` names it."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from linkspan_process.errors import StartError

_DEFAULT_PORT: Final = 6379

_SCHEMES: Final = {
    "redis": (False, False),
    "valkey": (False, False),
    "rediss": (True, False),
    "valkeys": (True, False),
    "redis+cluster": (False, True),
    "valkey+cluster": (False, True),
    "rediss+cluster": (True, True),
    "valkeys+cluster": (True, True),
}
"""Whether a scheme means TLS, and whether a cluster."""

_TLS_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a store is, and as whom to go there.

    Attributes:
        nodes: Hosts and ports: one, or those of a cluster that may be asked for the rest.
        cluster: Whether it is a cluster.
        tls: Whether to use TLS; certificates are checked.
        tls_files: Paths of PEM files by redis-py's names for them; empty for the system's.
        database: The number of the database; 0 in a cluster.
        username: As whom to authenticate; None for the default user.
        password: With which password; None for none.
    """

    nodes: tuple[tuple[str, int], ...]
    cluster: bool
    tls: bool
    tls_files: dict[str, str]
    database: int
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)

    def __str__(self) -> str:
        """Say where it is, for people; tells no secret."""
        return ",".join(f"{host}:{port}" for host, port in self.nodes)


def parse_address(url: str) -> RedisAddress:
    """Read an address.

    Args:
        url: `redis://[[user]:password@]host[:port][/database]`. For a cluster, with
            `redis+cluster`, several `host:port` with commas between them. With `rediss`, TLS, for
            which `?ssl_ca_certs=`, `ssl_certfile=` and `ssl_keyfile=` name PEM files.

    Raises:
        StartError: It is malformed; the message does not repeat it, as it may hold a password.
    """
    try:
        parts = urlsplit(url)
        tls, cluster = _SCHEMES[parts.scheme]
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        return RedisAddress(
            nodes=_nodes(hosts, cluster=cluster),
            cluster=cluster,
            tls=tls,
            tls_files=_tls_files(parts, tls=tls),
            database=_database(parts, cluster=cluster),
            username=unquote(username) or None,
            password=unquote(password) or None,
        )
    except _MalformedError as error:
        raise _refusal(str(error)) from None
    except (KeyError, ValueError):  # the standard library repeats what it cannot read
        raise _refusal("it cannot be read") from None


class _MalformedError(Exception):
    """What is wrong with an address, without a word of it."""


def _refusal(reason: str) -> StartError:
    return StartError(
        f"--store: malformed address of Redis or Valkey: {reason}; "
        "write redis://host:6379/0, or redis+cluster://host:6379 for a cluster"
    )


def _nodes(hosts: str, *, cluster: bool) -> tuple[tuple[str, int], ...]:
    nodes = tuple(_node(each) for each in hosts.split(","))
    if len(nodes) > 1 and not cluster:
        raise _MalformedError("only redis+cluster:// may name several hosts")
    return nodes


def _node(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _MalformedError("a port is a number up to 65535") from None
    if not host:
        raise _MalformedError("there is no host")
    return host, _DEFAULT_PORT if port is None else port


def _database(parts: SplitResult, *, cluster: bool) -> int:
    path = parts.path.strip("/")
    if path and not (path.isascii() and path.isdecimal()):
        raise _MalformedError("the path is the number of a database")
    database = int(path or 0)
    if database and cluster:
        raise _MalformedError("a cluster has no databases but 0")
    return database


def _tls_files(parts: SplitResult, *, tls: bool) -> dict[str, str]:
    if parts.fragment:
        raise _MalformedError("write # as %23")
    options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    if options and not tls:
        raise _MalformedError("there are options only with TLS")
    if not options.keys() <= _TLS_OPTIONS:
        raise _MalformedError(f"the options are {', '.join(sorted(_TLS_OPTIONS))}")
    return options
