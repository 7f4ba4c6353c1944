"""Thousands of connections that send a head byte by byte: others are served, and the slow ones end.

2,000 of them in a test; `SLOW_CONNECTIONS=10000 make fuzz` holds as many as the system allows.
"""

import os
import resource
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import pytest
from tests.requirements import requirement
from tests.support.hostile import read_responses, resident_bytes, served
from tests.support.peer import session_at
from tests.support.stack import Stack, running_stack
from tests.support.waiting import wait_until

RecordProperty: TypeAlias = Callable[[str, object], None]

WANTED: Final = int(os.environ.get("SLOW_CONNECTIONS", "2000"))
SPARE_FILES: Final = 300
PATIENCE_SECONDS: Final = 5
"""How long the worker waits for a head; long enough to open all of them on a slow machine."""

KIB_EACH: Final = 32
"""How much memory of the worker a waiting connection may cost; it is about 3."""

BEGUN: Final = (
    b"POST /m",
    b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-le",
    b"POST /mcp HTTP/1.1\r\nhost: localhost\r\n" + b"x: " + b"a" * 2000,
)


@contextmanager
def files_allowed(count: int) -> Generator[int]:
    """Have this process, and those that it starts, open many files; gives how many they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(allowed, soft), hard))
    try:
        yield max(allowed, soft)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@requirement("attacks.slow-connections")
@pytest.mark.timeout(180)
def test_others_are_served_while_thousands_send_slowly_and_all_of_those_end(
    tmp_path: Path, record_property: RecordProperty
) -> None:
    patience = ("--stall-timeout", str(PATIENCE_SECONDS))
    with files_allowed(WANTED + SPARE_FILES) as allowed:
        count = min(WANTED, allowed - SPARE_FILES)
        if count < 500:
            pytest.skip(f"this system lets a process open {allowed} files only")
        with running_stack(tmp_path, worker_arguments=patience) as stack:
            _hold(stack, count, record_property)


def _hold(stack: Stack, count: int, record_property: RecordProperty) -> None:
    url = urlsplit(stack.mcp)
    served(stack)
    before = resident_bytes(stack.worker)
    connections: list[socket.socket] = []
    try:
        with session_at(stack.mcp) as good:
            for number in range(count):
                connection = socket.create_connection((url.hostname, url.port), 30)
                connections.append(connection)
                connection.sendall(BEGUN[number % len(BEGUN)])
                if number % 200 == 0:
                    assert good.call("add", a=number, b=1).status == 200
            grown = resident_bytes(stack.worker) - before
            assert grown < count * KIB_EACH * 1024 + 20 * 1024 * 1024
            served(stack)  # on new connections, too
            ended = _drip_until_ended(connections, good.address)
        assert ended == count
        wait_until(lambda: _open_sockets(stack) < 50, "the worker to close its end of them")
        served(stack)
        assert stack.worker.running
        record_property("connections", count)
        record_property("MiB", round(grown / 1024 / 1024, 1))
    finally:
        for connection in connections:
            connection.close()


def _drip_until_ended(connections: list[socket.socket], address: str) -> int:
    """Send byte after byte on those that have begun, until all are closed; returns how many were.

    They are told 408, or are cut off while they send.
    """
    waiting = connections
    ended = 0
    deadline = time.monotonic() + 60
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} connections are still open"
        left: list[socket.socket] = []
        for connection in waiting:
            if _has_ended(connection):
                ended += 1
            else:
                left.append(connection)
        waiting = left
        with session_at(address) as good:
            assert good.call("add", a=1, b=1).status == 200
    return ended


def _has_ended(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        came = connection.recv(1000)
        if came:
            (response,) = read_responses(came)
            assert response.status == 408
        return True
    except ConnectionError:
        return True
    except BlockingIOError:
        pass
    try:
        connection.send(b"a")
    except ConnectionError:
        return True
    except BlockingIOError:
        pass
    return False


def _open_sockets(stack: Stack) -> int:
    folder = Path(f"/proc/{stack.worker.pid}/fd")
    return sum(1 for each in folder.iterdir() if _is_socket(each))


def _is_socket(file: Path) -> bool:
    try:
        return str(file.readlink()).startswith("socket:")
    except FileNotFoundError:
        return False
