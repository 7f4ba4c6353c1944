"""The `linkspan` command line: what there is to say, and who does it.

Exit status: 0 after a clean stop, 1 if something broke, 2 if the command or a setting is wrong or
nothing could be started; then one line on standard error says what to do. `linkspan sessions` has
more, see `linkspan_cli.sessions.command`.
"""

import argparse
import dataclasses
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Final, NoReturn, Protocol

from linkspan_cli import api_key, between
from linkspan_cli.sessions.arguments import EXAMPLES as SESSIONS_EXAMPLES
from linkspan_cli.sessions.arguments import add_sessions, shield_ids
from linkspan_cli.traces.arguments import EXAMPLES as TRACES_EXAMPLES
from linkspan_cli.traces.arguments import add_traces
from linkspan_process.collection import put_off_collection
from linkspan_process.errors import SettingError, StartError
from linkspan_process.grpc_polling import wait_in_one_thread
from linkspan_process.lifecycle import EXIT_NOT_STARTED
from linkspan_process.ports import check_port
from linkspan_process.settings import add_flags, from_env, parse_port, with_flags
from linkspan_session import config as session_config
from linkspan_traces import config as traces_config
from linkspan_worker import config as worker_config
from linkspan_worker.auth_config import check_exposure
from linkspan_worker.exposure import check_proxied
from linkspan_worker.limit_config import check_limits

_DESCRIPTION: Final = """\
Serves any Python MCP server from a stateless HTTP worker and a session server joined by gRPC.
Sessions are on disk, so they survive a restart; every request is one trace."""

_EXAMPLES: Final = """\
examples:
  linkspan run                                  the example server with every MCP feature
  linkspan run my_package.my_server:mcp         your server, from a module
  linkspan run path/to/server.py:mcp            your server, from a file
  linkspan run --port 0 --session-port 0        on free ports; the ready line says which

  linkspan session --app server.py:mcp          the two halves by themselves,
  linkspan worker --session 127.0.0.1:50051     in two terminals

  linkspan sessions list                        the sessions there are, and what to do with them

  linkspan traces list                          the traces of the last requests

traces go where the standard OTEL_EXPORTER_OTLP_ENDPOINT says; `linkspan run` keeps them itself, and
shows them on a page, if it is not set."""


class _Commands(Protocol):
    """What `ArgumentParser.add_subparsers` returns, which argparse gives no public name."""

    def add_parser(
        self,
        name: str,
        *,
        help: str,  # noqa: A002 - argparse's name
        description: str,
        epilog: str | None,
        allow_abbrev: bool,
    ) -> argparse.ArgumentParser: ...


_MAX_PROCESSES: Final = 64
_ENV: Final = "LINKSPAN_"
_STANDARD: Final = "OTEL_"
_SESSION_ENV: Final = session_config.ENV_PREFIX
_WORKER_ENV: Final = worker_config.ENV_PREFIX
_TRACES_ENV: Final = traces_config.ENV_PREFIX


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The words after the command's name; None takes this process's own.

    Returns:
        The exit status.
    """
    # Until something serves, Ctrl-C ends the process like any other, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = _parser()
    words = shield_ids(sys.argv[1:] if arguments is None else arguments)
    parsed, unknown = parser.parse_known_args(words)
    if unknown:
        advice = _advice(unknown[0]) if parsed.command == "run" else ""
        if advice:
            parser.exit(EXIT_NOT_STARTED, f"linkspan run: {advice}; see linkspan run --help\n")
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        _check_names(os.environ)
        match parsed.command:
            case "run":
                return _run(parsed)
            case "session":
                return _session(parsed, os.environ)
            case "sessions":
                return _sessions(parsed, os.environ)
            case "traces":
                return _traces(parsed, os.environ)
            case "api-key":
                return api_key.run(parsed)
            case _:
                return _worker(parsed, os.environ)
    except StartError as error:
        print(f"linkspan {parsed.command}: {error}", file=sys.stderr)
        return EXIT_NOT_STARTED


def _run(parsed: argparse.Namespace) -> int:
    from linkspan_cli.supervisor import RunOptions, run_together  # noqa: PLC0415 - as below

    if _WORKER_ENV + "SESSION" in os.environ:
        raise SettingError(
            f"{_WORKER_ENV}SESSION: `linkspan run` starts a session server of its own; "
            "unset it, or run `linkspan worker` alone"
        )
    # What a child would refuse is refused here as well, before anything has been started.
    worker = from_env(worker_config.WorkerConfig, os.environ, prefix=_WORKER_ENV)
    settings = from_env(session_config.SessionConfig, os.environ, prefix=_SESSION_ENV)
    worker, settings = between.with_tls(worker, parsed), between.with_tls(settings, parsed)
    session_port = settings.port if parsed.session_port is None else parsed.session_port
    between.check_session_servers(worker, settings, session_port, parsed.session_processes)
    check_exposure(worker, worker.host)
    check_proxied(worker)
    check_limits(worker)
    check_port(worker.host, worker.port if parsed.port is None else parsed.port)
    session_metrics_port, worker_metrics_port = _metrics_ports(
        settings.metrics_port, worker.metrics_port, parsed.session_processes, os.environ
    )
    options = RunOptions(
        app=parsed.app or settings.app or None,
        port=parsed.port,
        session_port=parsed.session_port,
        data=parsed.data or str(settings.data),
        log_level=parsed.log_level,
        drain_seconds=max(worker.drain_timeout, settings.drain_timeout),
        session_processes=parsed.session_processes,
        workers=parsed.workers,
        traces_port=_traces_port(parsed, os.environ),
        grpc_instrumentation=parsed.grpc_instrumentation,
        session_metrics_port=session_metrics_port,
        worker_metrics_port=worker_metrics_port,
        tls=worker,
    )
    return run_together(options)


def _metrics_ports(
    session: int | None, worker: int | None, sessions: int, environ: Mapping[str, str]
) -> tuple[int | None, int | None]:
    """Choose where session servers and workers show metrics: one after the other."""
    from linkspan_process.signals import SignalSettings, prometheus_address  # noqa: PLC0415

    if not SignalSettings.from_env("METRICS", environ).prometheus:
        return session, worker
    first = prometheus_address(environ)[1]
    return (
        first if session is None else session,
        (first and first + sessions) if worker is None else worker,
    )


def _traces_port(parsed: argparse.Namespace, environ: Mapping[str, str]) -> int | None:
    """Choose where the trace backend serves; None for nowhere, since traces go elsewhere."""
    if parsed.no_traces or _sends_traces_elsewhere(environ):
        return None
    traces = from_env(traces_config.TracesConfig, environ, prefix=_TRACES_ENV)
    if parsed.traces_port is not None:
        check_port(traces.host, parsed.traces_port, flag="--traces-port")
        port: int = parsed.traces_port
        return port
    try:  # it is the port of every collector: then any other will do
        check_port(traces.host, traces.port)
    except StartError:
        return 0
    return traces.port


def _sends_traces_elsewhere(environ: Mapping[str, str]) -> bool:
    """Tell whether the standard variables say where traces go, be it nowhere."""
    if not any(variable.startswith(_STANDARD) for variable in environ):
        return False  # without what reads them, which brings gRPC
    from linkspan_propagation import TelemetryConfigurationError  # noqa: PLC0415 - heavy, as below
    from linkspan_propagation.settings import TelemetrySettings  # noqa: PLC0415

    if environ.get("OTEL_TRACES_EXPORTER"):
        return True
    try:
        telemetry = TelemetrySettings.from_env(environ)
    except TelemetryConfigurationError:
        return True  # the first child says what is wrong
    return telemetry.disabled or bool(telemetry.exporters)


def _session(parsed: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = from_env(session_config.SessionConfig, environ, prefix=_SESSION_ENV)
    settings = with_flags(settings, parsed)
    if not settings.app:
        raise StartError("name the MCP server to host: --app path/to/server.py:mcp")
    wait_in_one_thread()
    between.hush_grpc(settings)
    from linkspan_session.server import run  # noqa: PLC0415 - heavy, and --help needs none of it

    return run(settings, environ, with_parent=parsed.with_parent)


def _worker(parsed: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = from_env(worker_config.WorkerConfig, environ, prefix=_WORKER_ENV)
    settings = with_flags(settings, parsed)
    wait_in_one_thread()
    between.hush_grpc(settings)
    with put_off_collection():
        from linkspan_worker.server import run  # noqa: PLC0415 - heavy, and --help needs none of it

    return run(settings, environ, with_parent=parsed.with_parent, share_port=parsed.share_port)


def _sessions(parsed: argparse.Namespace, environ: Mapping[str, str]) -> int:
    # Whoever has told workers where the session servers are has told it here, too.
    settings = from_env(worker_config.WorkerConfig, environ, prefix=_WORKER_ENV)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what fails is said in one line, by us
    from linkspan_cli.sessions.command import run  # noqa: PLC0415 - heavy, as above

    return run(parsed, parsed.server or settings.session, between.with_tls(settings, parsed))


def _traces(parsed: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from linkspan_cli.traces.command import run  # noqa: PLC0415 - heavy, as above

    return run(parsed, environ)


def _check_names(environ: Mapping[str, str]) -> None:
    """Refuse a variable that looks like a setting and belongs to no service."""
    known = (_SESSION_ENV, _WORKER_ENV, _TRACES_ENV)
    for variable in environ:
        if variable.startswith(_ENV) and not variable.startswith(known):
            raise SettingError(
                f"{variable} is not a setting; the settings start with {_SESSION_ENV}, "
                f"{_WORKER_ENV} or {_TRACES_ENV}, and `linkspan session --help`, `linkspan worker "
                "--help` and `linkspan traces serve --help` list them"
            )


def _advice(word: str) -> str:
    """Say of a flag of the processes that `run` starts how it is given to `run`; or nothing."""
    flag = word.partition("=")[0]
    services = (
        (_WORKER_ENV, worker_config.WorkerConfig),
        (_SESSION_ENV, session_config.SessionConfig),
    )
    variables = [
        prefix + field.name.upper()
        for prefix, settings in services
        for field in dataclasses.fields(settings)
        # The session servers of `run` are its own.
        if field.name != "session" and flag == "--" + field.name.replace("_", "-")
    ]
    if not variables:
        return ""
    return f"`run` takes {flag} from the environment, as {' or '.join(variables)}"


class _Parser(argparse.ArgumentParser):
    """A parser whose refusals are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and end the process."""
        self.exit(EXIT_NOT_STARTED, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="linkspan",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"linkspan {version('linkspan')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    session = _add(commands, "session", "run a session server alone")
    add_flags(session, session_config.SessionConfig, prefix=_SESSION_ENV)
    worker = _add(commands, "worker", "run a worker alone")
    add_flags(worker, worker_config.WorkerConfig, prefix=_WORKER_ENV)
    for each in (session, worker):
        each.add_argument(
            "--with-parent",
            action="store_true",
            help="stop when standard input ends, so as not to outlive the parent process",
        )
    worker.add_argument(
        "--share-port",
        action="store_true",
        help="let other workers that say so serve on the same port; the kernel spreads connections",
    )
    sessions = _add(commands, "sessions", "list, show and end sessions", epilog=SESSIONS_EXAMPLES)
    sessions.formatter_class = argparse.RawDescriptionHelpFormatter
    add_sessions(sessions)
    traces = _add(commands, "traces", "keep traces, and show them", epilog=TRACES_EXAMPLES)
    traces.formatter_class = argparse.RawDescriptionHelpFormatter
    add_traces(traces)
    api_key.add_api_key(_add(commands, "api-key", "make an API key", epilog=api_key.NOTES))
    return parser


def _add_run(commands: "_Commands") -> None:
    run = _add(
        commands,
        "run",
        "run session servers, workers and the trace page together",
        epilog=(
            "every setting of `linkspan session` and `linkspan worker` can also be given as an "
            f"environment variable: {_SESSION_ENV}..., {_WORKER_ENV}..."
        ),
    )
    run.add_argument(
        "app",
        nargs="?",
        metavar="APP",
        help="the MCP server to host, package.module:attribute or path.py:attribute "
        "(default: the example server)",
    )
    run.add_argument(
        "--port", type=_port, metavar="N", help="the HTTP port; 0 takes a free one (default: 8080)"
    )
    run.add_argument(
        "--session-port",
        type=_port,
        metavar="N",
        help="the gRPC port; 0 takes a free one (default: 50051)",
    )
    run.add_argument(
        "--session-processes",
        type=_processes,
        default=1,
        metavar="N",
        help="how many session servers share the sessions; as many as there are cores, at most "
        "(default: 1)",
    )
    run.add_argument(
        "--workers",
        type=_processes,
        default=1,
        metavar="N",
        help="how many workers share the HTTP port (default: 1)",
    )
    run.add_argument(
        "--traces-port",
        type=_port,
        metavar="N",
        help="the port of the trace page; 0 takes a free one (default: 4318, or a free one)",
    )
    run.add_argument(
        "--no-traces",
        action="store_true",
        help="keep no traces here; none are kept, either, if OTEL_* variables send them elsewhere",
    )
    run.add_argument(
        "--grpc-instrumentation",
        choices=("native", "contrib"),
        help="who traces the calls between workers and session servers: this program, or "
        "opentelemetry-instrumentation-grpc, which costs more (default: native)",
    )
    between.add_tls_flags(run)
    run.add_argument(
        "--data", metavar="DIR", help="the folder for sessions and traces (default: .linkspan)"
    )
    run.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        help="how much to log (default: info)",
    )


def _add(
    commands: "_Commands",
    name: str,
    summary: str,
    *,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=epilog,
        allow_abbrev=False,
    )


def _processes(text: str) -> int:
    count = int(text) if text.isdigit() else 0
    if not 1 <= count <= _MAX_PROCESSES:
        raise argparse.ArgumentTypeError(f"must be from 1 to {_MAX_PROCESSES}, not {text!r}")
    return count


def _port(text: str) -> int:
    try:
        return parse_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
