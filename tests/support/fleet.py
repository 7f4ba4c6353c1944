"""Several session servers and workers over one store, each a process; and the log of their commits."""

import re
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.support.ports import free_port
from tests.support.processes import EVERYTHING, ServiceProcess, linkspan
from tests.support.stack import PROMPT_EXPORT

from linkspan_propagation.testing import OtlpReceiver

_COMMIT: Final = re.compile(
    r"linkspan_session\.commits .*commit session=(\w+) epoch=(\d+) owner=(\S+) version=(\d+)"
)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, as its session server logged it."""

    session: str
    epoch: int
    owner: str
    version: int


@dataclass(slots=True)
class SessionServer:
    """A session server of a fleet.

    Attributes:
        process: Its process; another one after a restart.
        address: Where it serves gRPC; stays the same.
        past: What its former processes logged.
    """

    process: ServiceProcess
    address: str
    past: list[str] = field(default_factory=list[str])

    @property
    def log(self) -> list[str]:
        """All that it has logged, in all its runs."""
        return [*self.past, *self.process.errors]


class Fleet:
    """Session servers that share a store, and workers before them."""

    def __init__(
        self,
        stack: ExitStack,
        store: str,
        *,
        app: str = EVERYTHING,
        env: Mapping[str, str] | None = None,
        session_arguments: Sequence[str] = (),
    ) -> None:
        self._stack = stack
        self._store = store
        self._app = app
        self._env = dict(env or {})
        self._session_arguments = tuple(session_arguments)
        self.servers: list[SessionServer] = []
        self.workers: list[ServiceProcess] = []

    def add_server(self, *arguments: str, port: int | None = None) -> SessionServer:
        """Start a session server, on any port that stays its own while it is down, or on `port`."""
        process = self._start_session(port or free_port(), arguments)
        server = SessionServer(process, process.wait_ready()["grpc"])
        self.servers.append(server)
        return server

    def restart(self, server: SessionServer, *arguments: str) -> None:
        """Start a server that has ended again, on the port that it had."""
        server.past += server.process.errors
        server.process.kill()
        port = int(server.address.rpartition(":")[2])
        server.process = self._start_session(port, arguments)
        server.process.wait_ready()

    def add_worker(self, *arguments: str, targets: str = "") -> str:
        """Start a worker for all servers, or for `targets`; returns its address for MCP clients."""
        session = targets or ",".join(server.address for server in self.servers)
        worker = self._stack.enter_context(
            linkspan(
                *("worker", "--session", session, "--port", str(free_port())),
                *arguments,
                env=self._env,
            )
        )
        self.workers.append(worker)
        return worker.wait_ready()["mcp"]

    def owner_of(self, session_digest: str) -> SessionServer:
        """Return the server that made the newest commit of a session."""
        newest = max(
            (each for each in self.commits() if each.session == session_digest),
            key=lambda each: each.version,
        )
        address = newest.owner.rpartition("#")[0]
        return next(server for server in self.servers if server.address == address)

    def commits(self) -> list[Commit]:
        """Return all commits that any server has logged so far."""
        found: list[Commit] = []
        for server in self.servers:
            for line in server.log:
                match = _COMMIT.search(line)
                if match:
                    found.append(Commit(match[1], int(match[2]), match[3], int(match[4])))
        return found

    def _start_session(self, port: int, arguments: Sequence[str]) -> ServiceProcess:
        return self._stack.enter_context(
            linkspan(
                "session",
                "--app",
                self._app,
                "--port",
                str(port),
                "--store",
                self._store,
                "--log-level",
                "debug",
                "--log-format",
                "text",
                *self._session_arguments,
                *arguments,
                env=self._env,
            )
        )


@contextmanager
def running_fleet(
    store: str,
    *,
    servers: int,
    app: str = EVERYTHING,
    receiver: OtlpReceiver | None = None,
    env: Mapping[str, str] | None = None,
    session_arguments: Sequence[str] = (),
) -> Generator[Fleet]:
    """Run session servers over a store until the block is left; workers are added within it.

    Args:
        store: The address of the store.
        servers: How many session servers to begin with.
        app: The server that each hosts.
        receiver: Where spans go; None sends them nowhere.
        env: More variables for all processes.
        session_arguments: More words for each `linkspan session`.
    """
    telemetry = {} if receiver is None else {**receiver.environ(), **PROMPT_EXPORT}
    with ExitStack() as stack:
        fleet = Fleet(
            stack,
            store,
            app=app,
            env={**telemetry, **(env or {})},
            session_arguments=session_arguments,
        )
        for _ in range(servers):
            fleet.add_server()
        yield fleet


def check_one_owner(commits: Sequence[Commit]) -> None:
    """Fail the test if any session was owned twice at once, as the log of all commits shows."""
    by_session: defaultdict[str, list[Commit]] = defaultdict(list)
    for commit in commits:
        by_session[commit.session].append(commit)
    for session, its in by_session.items():
        versions = sorted(its, key=lambda each: each.version)
        numbers = [each.version for each in versions]
        assert len(numbers) == len(set(numbers)), f"{session}: a version was given twice"
        epochs = [each.epoch for each in versions]
        assert epochs == sorted(epochs), f"{session}: an older owner wrote after a newer one"
        owners: dict[int, str] = {}
        for each in versions:
            owner = owners.setdefault(each.epoch, each.owner)
            assert owner == each.owner, f"{session}: two owners of epoch {each.epoch}"
