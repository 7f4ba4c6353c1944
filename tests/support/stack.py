"""One session server and one worker, each a process, reporting to one OTLP receiver."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.support.ports import free_port
from tests.support.processes import EVERYTHING, ServiceProcess, linkspan

from linkspan_propagation.testing import OtlpReceiver

PROMPT_EXPORT: Final[Mapping[str, str]] = {"OTEL_BSP_SCHEDULE_DELAY": "20"}
"""Has spans exported within milliseconds, so that tests need not wait for a batch."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running worker and session server.

    Attributes:
        mcp: The address for MCP clients.
        grpc: The address for gRPC clients.
        session: The session server's process.
        worker: The worker's process.
        data: The folder of the session store.
    """

    mcp: str
    grpc: str
    session: ServiceProcess
    worker: ServiceProcess
    data: Path

    @contextmanager
    def another_worker(self) -> Generator[str]:
        """Run one more worker for the same session server; gives its address for MCP clients."""
        with self.with_worker() as stack:
            yield stack.mcp

    @contextmanager
    def with_worker(self, *arguments: str) -> Generator["Stack"]:
        """Run one more worker for the same session server; gives the two of them.

        For tests of what a worker does that need no session server of their own.

        Args:
            arguments: More words for `linkspan worker`.
        """
        command = ("worker", "--session", self.grpc, "--port", "0", *arguments)
        with linkspan(*command) as worker:
            yield replace(self, mcp=worker.wait_ready()["mcp"], worker=worker)

    @property
    def http(self) -> str:
        """The worker's address without a path."""
        return self.mcp.removesuffix("/mcp")


@contextmanager
def running_stack(
    data: Path,
    *,
    app: str = EVERYTHING,
    receiver: OtlpReceiver | None = None,
    session_arguments: tuple[str, ...] = (),
    worker_arguments: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
) -> Generator[Stack]:
    """Run both until the block is left.

    Args:
        data: The folder of the session store.
        app: The server to host.
        receiver: Where spans go; None sends them nowhere.
        session_arguments: More words for `linkspan session`.
        worker_arguments: More words for `linkspan worker`.
        env: More variables for both.
    """
    telemetry = {} if receiver is None else {**receiver.environ(), **PROMPT_EXPORT}
    variables = {**telemetry, **(env or {})}
    # One that stays its own while the server is down, if a test starts it again.
    port = str(free_port())
    session_command = ("session", "--app", app, "--port", port, "--data", str(data))
    with linkspan(*session_command, *session_arguments, env=variables) as session:
        grpc = session.wait_ready()["grpc"]
        worker_command = ("worker", "--session", grpc, "--port", "0")
        with linkspan(*worker_command, *worker_arguments, env=variables) as worker:
            mcp = worker.wait_ready()["mcp"]
            yield Stack(mcp, grpc, session, worker, data)
