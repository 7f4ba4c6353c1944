"""What tests of starting and stopping share: commands, and the processes that they become."""

import os
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.support.processes import ServiceProcess, linkspan

REFUSED = 2
BROKEN = 1


def refusal(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run a command that must not start, and return its only line for people."""
    with linkspan(*arguments, env=env) as process:
        status = process.wait()
        assert status == REFUSED, process.errors
        assert process.output == []
        (line,) = process.errors
    assert line.startswith(f"linkspan {arguments[0]}: ")
    return line


def hosting(command: str, app: str, *, data: Path) -> tuple[str, ...]:
    """Write a command that hosts an app on free ports."""
    if command == "session":
        return ("session", "--app", app, "--port", "0", "--data", str(data))
    ports = ("--port", "0", "--session-port", "0", "--traces-port", "0")
    return ("run", app, *ports, "--data", str(data))


def all_children_of(process: ServiceProcess) -> list[tuple[str, int]]:
    """Find the processes below `linkspan run`: what they are, and their ids."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    found: list[tuple[str, int]] = []
    for line in listing.stdout.splitlines():
        pid, parent, arguments = line.split(None, 2)
        if int(parent) == process.pid:
            # Between its fork and its exec, a child still has the arguments of its parent.
            names = {"session", "worker", "traces"} & set(arguments.split())
            found += [(name, int(pid)) for name in names]
    return found


def children_of(process: ServiceProcess) -> dict[str, int]:
    """Find the processes below `linkspan run` that has one of each, by what they are."""
    return dict(all_children_of(process))


def is_running(pid: int) -> bool:
    """Tell whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def nobody_serves(addresses: Mapping[str, str]) -> bool:
    """Tell whether all ports are closed."""
    urls = [addresses[name] for name in ("mcp", "traces")]
    for address in (addresses["grpc"], *(url.split("/")[2] for url in urls)):
        host, _, port = address.rpartition(":")
        with suppress(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=5).close()
            return False
    return True


def said(process: ServiceProcess, words: str) -> bool:
    """Tell whether any line of its errors has these words in it."""
    return any(words in line for line in process.errors)
