"""Taking a TCP port, and the one line for a port that cannot be had."""

import socket

from linkspan_process.errors import StartError

_BACKLOG = 2048


def take_port(host: str, port: int, *, flag: str = "--port", shared: bool = False) -> socket.socket:
    """Listen on an address; port 0 takes a free one.

    Args:
        host: A name or an address of this machine.
        port: The port.
        flag: The option that would choose another one.
        shared: Whether others that say so, too, may listen on the same port; each connection goes
            to one of them (SO_REUSEPORT).

    Raises:
        StartError: The port is in use or not allowed, or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port), family=family, backlog=_BACKLOG, reuse_port=shared
        )
    except OSError as error:
        # Python adds to the system's words which address it was, which is said here already.
        why = (error.strerror or str(error)).partition(" (while ")[0]
        where = address_of(host, port)
        raise StartError(
            f"cannot serve on {where}: {why}; choose another port with {flag}"
        ) from None


def check_port(host: str, port: int, *, flag: str = "--port") -> None:
    """Check that a port can be taken, for a server that takes it by other means.

    Raises:
        StartError: As `take_port` does.
    """
    take_port(host, port, flag=flag).close()


def address_of(host: str, port: int) -> str:
    """Write host and port as URLs and gRPC targets have them (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """Split `host:port`; an IPv6 host loses its brackets. What has no port has port -1."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port) if port.isdecimal() else -1
