"""Ports on which nobody listens, for servers that are yet to come and for those that never do.

They are outside of the range that the kernel gives to whoever asks for any port, so that no other
process is given one between its choice and its use, or while its server is down to be started again.
A name in the kernel stands for each port that was handed out, for as long as the test process lives:
tests that run at the same time hand out different ones.
"""

import random
import socket
import sys
from contextlib import suppress
from typing import Final

_LOWEST: Final = 15_000
_HIGHEST: Final = 32_000
"""Linux gives 32768 and above (`net.ipv4.ip_local_port_range`)."""
_TRIES: Final = 100

_random: Final = random.SystemRandom()
_taken: Final[list[socket.socket]] = []


def free_port() -> int:
    """Return a port that nobody listens on, and that nobody comes to have by chance."""
    for _ in range(_TRIES):
        port = _random.randint(_LOWEST, _HIGHEST)
        with suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            _take(port)
            return port
    raise AssertionError("no port is free")


def _take(port: int) -> None:
    """Take the name that stands for a port; fails with OSError if another test has it."""
    if sys.platform != "linux":  # elsewhere there are no names that end with their process
        return
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0linkspan-tests-port-{port}")
    except OSError:
        mark.close()
        raise
    _taken.append(mark)
