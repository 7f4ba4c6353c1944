"""Unix sockets: their addresses, `unix:/path`, and who may connect.

Above lie the services; gRPC itself makes the socket, and removes it when it stops. What is written as
an address is the same everywhere on a machine, so paths are absolute; it also stands in ready lines,
in lists and in the store, so they are plain.
"""

import os
import re
import socket
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from linkspan_process.errors import StartError
from linkspan_process.ports import split_address
from linkspan_process.settings import parse_port

_PREFIX: Final = "unix:"
_ABSTRACT: Final = "unix-abstract:"
_PLAIN: Final = re.compile(r"[A-Za-z0-9/._@+=-]+")
_MAX_PATH_BYTES: Final = 107
"""How long a path may be: `sun_path` has 108 bytes, the last one 0 (unix(7))."""


def is_unix(address: str) -> bool:
    """Tell whether an address is a socket of this machine and no port."""
    return address.startswith((_PREFIX, _ABSTRACT))


def path_of(address: str) -> Path:
    """Return the path of `unix:/path`."""
    return Path(address.removeprefix(_PREFIX))


def parse_unix(text: str) -> str:
    """Take `unix:PATH`; returns it with the path absolute.

    Raises:
        ValueError: The path cannot be one of a socket.
    """
    path = os.path.abspath(text.removeprefix(_PREFIX))  # noqa: PTH100 - links stay as they are
    if not text.removeprefix(_PREFIX) or not _PLAIN.fullmatch(path):
        raise ValueError(
            "must be unix: and a path of letters, digits and /._@+=-, such as "
            f"unix:/run/linkspan/session.sock, not {text!r}"
        )
    if path.startswith("//"):
        path = path[1:]
    if len(path.encode()) > _MAX_PATH_BYTES:
        raise ValueError(f"the path of a socket has at most {_MAX_PATH_BYTES} bytes, not {path!r}")
    return _PREFIX + path


def parse_host(text: str) -> str:
    """Take the name or address of a host, or `unix:PATH`."""
    return parse_unix(text) if text.startswith(_PREFIX) else text


def check_socket(address: str, *, flag: str) -> None:
    """Check that a socket can be made at a path: nothing is there, or one that nobody listens on.

    Args:
        address: `unix:/path`.
        flag: The option that would choose another one.

    Raises:
        StartError: It cannot.
    """
    path = path_of(address)
    advice = f"choose another path with {flag}"
    if not path.parent.is_dir():
        raise StartError(f"cannot serve on {address}: there is no folder {path.parent}; {advice}")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise StartError(f"cannot serve on {address}: {error.strerror}; {advice}") from None
    if mode is not None and not stat.S_ISSOCK(mode):
        raise StartError(f"cannot serve on {address}: a file is there, and no socket; {advice}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise StartError(f"cannot serve on {address}: Permission denied; {advice}")
    if mode is not None and _somebody_listens(path):
        raise StartError(f"cannot serve on {address}: Address already in use; {advice}")


@contextmanager
def private(address: str, mode: int) -> Generator[None]:
    """Have the socket that is made within the block open to nobody but whom a mode says.

    Args:
        address: `unix:/path`.
        mode: The bits of its permissions: 0o600 for its owner, 0o660 for its group as well.
    """
    # Between bind and chmod a socket would have whatever the process' mask leaves.
    before = os.umask(0o777 & ~0o600)
    try:
        yield
        path_of(address).chmod(mode)
    finally:
        os.umask(before)


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # one that may not be connected to, or has a long queue, has an owner
            return True
    return True


def parse_listening(text: str) -> str:
    """Take nothing, `HOST:PORT` or `unix:PATH`; port 0 takes a free one.

    Raises:
        ValueError: It is none of these.
    """
    if not text or text.startswith(_PREFIX):
        return text and parse_unix(text)
    host, port = split_address(text)
    if not host or (":" in host and not text.startswith("[")):
        raise ValueError(f"must be HOST:PORT or unix:PATH, such as 127.0.0.1:50052, not {text!r}")
    parse_port(text.rpartition(":")[2] if port < 0 else str(port))
    return text
