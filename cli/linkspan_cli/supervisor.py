"""Runs all of Linkspan as child processes, together or not at all.

Started from the inside out, trace backend, session servers, workers, and stopped the other way
round, so that a request always finds someone behind it, and its spans somebody who takes them. If
a session server or a worker ends by itself, the others are stopped and the command fails; without
the trace backend they serve on. The children are in sessions of
their own, so that Ctrl-C reaches them through here and in order, and they watch their standard
input, so that they end even if this process is killed.
"""

import asyncio
import os
import shlex
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from linkspan_cli.between import grpcurl_flags, tls_flags
from linkspan_cli.greeting import greeting
from linkspan_process.lifecycle import END_SECONDS, EXIT_BROKEN, EXIT_NOT_STARTED, EXIT_OK
from linkspan_process.ready import parse_ready_line
from linkspan_process.tls import TlsConfig

_READY_TIMEOUT_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 5.0
"""How much longer than its own bound a child may take to end before it is killed."""
_OUTPUT_TIMEOUT_SECONDS: Final = 1.0
_SILENT_SECONDS: Final = 0.7
"""How long a stop may take until it is said what it waits for; most are over by then."""
NO_TLS: Final = TlsConfig()
_DEFAULT_APP: Final = Path("examples") / "everything" / "server.py"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `linkspan run` was told; None leaves it to the environment and the defaults.

    Attributes:
        app: The server to host; None hosts the example.
        port: The HTTP port.
        session_port: The gRPC port.
        data: The folder of the session store.
        log_level: How much to log.
        drain_seconds: How long a child gives running requests at its end.
        session_processes: How many session servers; all but the first on free ports.
        workers: How many workers; they share the HTTP port.
        traces_port: The port of the trace backend; None for no backend.
        grpc_instrumentation: Who traces the calls between workers and session servers.
        session_metrics_port: The port where the first session server shows metrics, the others on
            those that follow; 0 for free ones, None for nowhere.
        worker_metrics_port: The same for workers.
        tls: What session servers and workers are told about TLS.
    """

    app: str | None
    port: int | None
    session_port: int | None
    data: str
    log_level: str | None
    drain_seconds: float
    session_processes: int = 1
    workers: int = 1
    traces_port: int | None = None
    grpc_instrumentation: str | None = None
    session_metrics_port: int | None = None
    worker_metrics_port: int | None = None
    tls: TlsConfig = NO_TLS


class _ChildEndedError(Exception):
    """A child process ended by itself.

    Attributes:
        status: Its exit status; negative if a signal ended it.
        explained: Whether it has said why, on one line, because it could not start.
    """

    def __init__(self, name: str, status: int, *, ready: bool) -> None:
        how = f"with status {status}"
        if status < 0:
            how = f"of signal {signal.Signals(-status).name}"
        super().__init__(f"the {name} ended by itself, {how}; nothing else is left running")
        self.status = status
        self.explained = status == EXIT_NOT_STARTED and not ready


class _Child:
    """A child process, its ready line, and what else it prints."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self._process = process
        self._ready: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    async def ready(self) -> dict[str, str]:
        """Wait for the ready line and return its addresses.

        Raises:
            _ChildEndedError: The process ended instead.
            TimeoutError: It took too long.
        """
        async with asyncio.timeout(_READY_TIMEOUT_SECONDS):
            ended = asyncio.create_task(self.ended())
            try:
                first: set[asyncio.Future[Any]] = {self._ready, ended}
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
                if not self._ready.done():
                    raise await ended
            finally:
                ended.cancel()
        return self._ready.result()

    async def ended(self) -> _ChildEndedError:
        """Wait for the process to end."""
        status = await self._process.wait()
        return _ChildEndedError(self.name, status, ready=self._ready.done())

    def kill(self) -> None:
        """End the process at once, if it still runs."""
        if self._process.returncode is None:
            self._process.kill()

    async def stop(self, timeout_seconds: float) -> None:
        """Ask the process to end, and make it end if it does not in time."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        # Whatever it started itself may hold its output open for as long as it likes.
        await asyncio.wait({self._reading}, timeout=_OUTPUT_TIMEOUT_SECONDS)
        self._reading.cancel()

    async def _read(self) -> None:
        """Pass on what the process prints, but for its ready line."""
        assert self._process.stdout is not None  # noqa: S101 - it was made with a pipe
        while piece := await _read_piece(self._process.stdout):
            addresses = None
            if not self._ready.done():
                addresses = parse_ready_line(piece.decode(errors="replace"))
            if addresses is None:
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
            else:
                self._ready.set_result(addresses)


def run_together(options: RunOptions) -> int:
    """Run them until SIGINT or SIGTERM, or until one of them ends.

    Returns:
        The exit status for the process.
    """
    return asyncio.run(_run(options))


async def _run(options: RunOptions) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    children: list[_Child] = []

    def ask_to_stop() -> None:
        """The first time, let what runs come to its end; after that, wait for nothing."""
        if stop.is_set():
            for child in children:
                child.kill()
        else:
            loop.call_later(_SILENT_SECONDS, _say_what_is_waited_for, options.drain_seconds)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask_to_stop)
    stopping = asyncio.create_task(stop.wait())
    serving = asyncio.create_task(_serve(options, children))
    await asyncio.wait({stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not serving.done():
        serving.cancel()
    try:
        await serving
    except asyncio.CancelledError:
        return EXIT_OK
    except TimeoutError:
        print("linkspan run: a process did not get ready in time", file=sys.stderr)
        return EXIT_BROKEN
    except _ChildEndedError as error:
        if not error.explained:
            print(f"linkspan run: {error}", file=sys.stderr)
        return error.status if error.status > 0 else EXIT_BROKEN
    return EXIT_OK


def _say_what_is_waited_for(drain_seconds: float) -> None:
    print(
        f"linkspan run: stopping; what runs has {drain_seconds:g} s to end, Ctrl-C ends it now",
        file=sys.stderr,
        flush=True,
    )


async def _serve(options: RunOptions, children: list[_Child]) -> None:
    """Serve until cancelled, and add to `children` what is started on the way.

    Raises:
        _ChildEndedError: A child ended by itself.
    """
    app = options.app or str(_default_app())
    common = [] if options.log_level is None else ["--log-level", options.log_level]
    # Whoever stops it knows that the backend ends: what reports its end is left first.
    async with AsyncExitStack() as stack, AsyncExitStack() as reporting:
        start = _Starter(stack, children, options.drain_seconds + END_SECONDS + _STOP_SECONDS)
        page = None
        if options.traces_port is not None:
            ports = ["--port", str(options.traces_port), "--grpc-port", "0"]
            quiet = common or ["--log-level", "warning"]  # the greeting says all there is to say
            command = ["traces", "serve", "--data", options.data, *ports, *quiet]
            (backend,) = await start.together("trace backend", [command])
            reporting.callback(asyncio.create_task(_report_end(children[0])).cancel)
            page = backend["traces"]
            start.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = page
            # Who looks at the page waits for what has just happened.
            start.environ.setdefault("OTEL_BSP_SCHEDULE_DELAY", "500")
        if options.grpc_instrumentation is not None:
            common += ["--grpc-instrumentation", options.grpc_instrumentation]
        common += tls_flags(options.tls)
        sessions = await _start_session_servers(start, options, ["--app", app, *common])
        grpc = [each["grpc"] for each in sessions]
        workers = await _start_workers(start, options, ["--session", ",".join(grpc), *common])
        mcp = workers[0]["mcp"]
        metrics = [each["metrics"] for each in (*sessions, *workers) if "metrics" in each]
        told = greeting(
            app,
            mcp,
            grpc,
            options.data,
            page,
            metrics,
            start.environ,
            command=_command(),
            example=options.app is None,
            grpcurl=grpcurl_flags(sessions[0].get("admin", grpc[0]), options.tls),
        )
        print(told, flush=True)
        vital = children if page is None else children[1:]
        ended = [asyncio.create_task(child.ended()) for child in vital]
        done, _ = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        raise done.pop().result()


async def _report_end(backend: _Child) -> None:
    """Say that the trace backend has ended by itself; telemetry stops nothing."""
    await backend.ended()
    print(
        "linkspan run: the trace backend ended by itself; serving goes on, traces are lost",
        file=sys.stderr,
        flush=True,
    )


async def _start_session_servers(
    start: "_Starter", options: RunOptions, arguments: list[str]
) -> list[dict[str, str]]:
    """Start the session servers; returns their ready lines."""
    command = ["session", *arguments, "--data", options.data]
    metrics = _ports(options.session_metrics_port)
    first = [*command, *next(metrics)]
    if options.session_port is not None:
        first = [*first, "--port", str(options.session_port)]
    more = [[*command, *next(metrics), "--port", "0"] for _ in range(1, options.session_processes)]
    return await start.together("session server", [first, *more])


def _ports(first: int | None) -> Iterator[list[str]]:
    """Give each of several processes its flag for metrics, none if they have none."""
    while True:
        yield [] if first is None else ["--metrics-port", str(first)]
        first = first and first + 1


async def _start_workers(
    start: "_Starter", options: RunOptions, arguments: list[str]
) -> list[dict[str, str]]:
    """Start the workers, the first one first: it knows the port; returns their ready lines."""
    command = ["worker", *arguments]
    metrics = _ports(options.worker_metrics_port)
    if options.workers > 1:
        command.append("--share-port")
    first = [*command, *next(metrics)]
    if options.port is not None:
        first = [*first, "--port", str(options.port)]
    ready = await start.together("worker", [first])
    port = str(urlsplit(ready[0]["mcp"]).port)
    more = [[*command, *next(metrics), "--port", port] for _ in range(1, options.workers)]
    if more:
        ready += await start.together("worker", more)
    return ready


class _Starter:
    """Starts children, and stops them with the block that `stack` is of."""

    def __init__(self, stack: AsyncExitStack, children: list[_Child], stop_seconds: float) -> None:
        self._stack = stack
        self._children = children
        self._stop_seconds = stop_seconds
        # What a hosted server prints is to be seen when it prints it.
        self.environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        """What children see."""

    async def together(self, name: str, commands: list[list[str]]) -> list[dict[str, str]]:
        """Start children of one kind, which stop together; returns their ready lines."""
        started: list[_Child] = []
        self._stack.push_async_callback(self._stop, started)
        for command in commands:
            started.append(await self._start(name, command))
            self._children.append(started[-1])
        return [await child.ready() for child in started]

    async def _start(self, name: str, command: list[str]) -> _Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "linkspan_cli",
            *command,
            "--with-parent",
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,
            env=self.environ,
        )
        return _Child(name, process)

    async def _stop(self, children: list[_Child]) -> None:
        if children:
            await asyncio.wait(
                [asyncio.ensure_future(child.stop(self._stop_seconds)) for child in children]
            )


async def _read_piece(stream: asyncio.StreamReader) -> bytes:
    """Read a line, or a part of one that is too long to be held; empty at the end."""
    try:
        return await stream.readuntil()
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await stream.read(error.consumed)


def _command() -> str:
    """Tell how this program is called from here: by its name, if the shell finds that."""
    called = Path(sys.argv[0])
    if called.name != "linkspan" or shutil.which("linkspan"):
        return "linkspan"
    here = Path.cwd()
    return shlex.quote(str(called.relative_to(here) if called.is_relative_to(here) else called))


def _default_app() -> Path:
    """Find the example server: beside the package where it is installed, or in the checkout."""
    package = Path(__file__).parent
    installed = package / _DEFAULT_APP
    found = installed if installed.exists() else package.parents[1] / _DEFAULT_APP
    here = Path.cwd()
    return found.relative_to(here) if found.is_relative_to(here) else found
