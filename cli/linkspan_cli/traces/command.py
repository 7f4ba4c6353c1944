"""What `linkspan traces` does: runs the backend, or asks a running one and draws what it says.

Above lies `linkspan_cli.main`; below lie `client` (the calls), `table` and `waterfall` (what is
printed). Results go to standard output, all else to standard error.

Exit status: 0; 1 if a call failed or there is no such trace; 2 if the words are wrong; 130 after
Ctrl-C. Whoever closes the pipe has seen enough: that is no failure.
"""

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from linkspan_cli.traces.client import CallError, TracesClient
from linkspan_cli.traces.table import header, row
from linkspan_cli.traces.waterfall import Paint, draw, to_ascii
from linkspan_process.errors import StartError
from linkspan_process.lifecycle import EXIT_BROKEN, EXIT_OK
from linkspan_process.settings import from_env, with_flags
from linkspan_traces.config import ENV_PREFIX, TracesConfig
from linkspan_traces.whereabouts import find

EXIT_INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells have it."""

_PAGE: Final = 500
_WIDTH_WITHOUT_TERMINAL: Final = 120
_SEARCH: Final = ("trace", "session", "method", "tool", "service", "status", "min_ms", "max_ms")


def run(parsed: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do what was asked.

    Args:
        parsed: The words, as `arguments.add_traces` reads them.
        environ: The environment.

    Returns:
        The exit status.

    Raises:
        StartError: A setting is bad.
    """
    settings = from_env(TracesConfig, environ, prefix=ENV_PREFIX)
    if parsed.action == "serve":
        from linkspan_traces.server import run as serve  # noqa: PLC0415 - heavy

        return serve(with_flags(settings, parsed), with_parent=parsed.with_parent)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")  # a span's name may be in any script
    signal.signal(signal.SIGINT, signal.default_int_handler)
    client = TracesClient(parsed.url or _find(parsed.data or settings.data, settings))
    try:
        _act(parsed, client, _paint(environ))
        sys.stdout.flush()
        status = EXIT_OK
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except CallError as error:
        print(f"linkspan traces: {error}", file=sys.stderr)
        status = EXIT_BROKEN
    except BrokenPipeError:
        status = EXIT_OK
    _hush_output()
    return status


def _find(data: Path, settings: TracesConfig) -> str:
    return find(data) or f"http://{settings.host}:{settings.port}"


def _paint(environ: Mapping[str, str]) -> Paint:
    # https://no-color.org: any value but an empty one.
    plain = environ.get("NO_COLOR", "") != "" or environ.get("TERM") == "dumb"
    return Paint(on=sys.stdout.isatty() and not plain)


def _act(parsed: argparse.Namespace, client: TracesClient, paint: Paint) -> None:
    match parsed.action:
        case "list":
            _list(parsed, client, paint)
        case "show":
            _show(parsed, client, paint)
        case _:
            _tail(parsed, client, paint)


def _list(parsed: argparse.Namespace, client: TracesClient, paint: Paint) -> None:
    search, listed = _search(parsed), 0
    while listed < parsed.limit:
        search["limit"] = str(min(_PAGE, parsed.limit - listed))
        page = client.list(search)
        if page["traces"] and not listed and not parsed.json:
            print(header())
        for trace in page["traces"]:
            _print(json.dumps(trace) if parsed.json else row(trace, paint))
        sys.stdout.flush()
        listed += len(page["traces"])
        search["cursor"] = page["next_cursor"]
        if not search["cursor"]:
            break
    if not listed and not parsed.json:
        print("no such traces" if _search(parsed) else "no traces", file=sys.stderr)


def _show(parsed: argparse.Namespace, client: TracesClient, paint: Paint) -> None:
    wanted = parsed.id.lower()
    if wanted == "last":
        newest = client.list({"limit": "1"})["traces"]
        if not newest:
            raise CallError("there are no traces yet")
        wanted = newest[0]["trace_id"]
    elif not 0 < len(wanted) <= 32 or set(wanted) - set("0123456789abcdef"):  # noqa: PLR2004
        raise StartError(f"a trace id is up to 32 hex digits, or `last`, not {parsed.id!r}")
    trace = client.show(wanted)
    if parsed.json:
        _print(json.dumps(trace))
        return
    width = _WIDTH_WITHOUT_TERMINAL
    if sys.stdout.isatty():
        width = shutil.get_terminal_size((_WIDTH_WITHOUT_TERMINAL, 0)).columns
    for line in draw(trace, width, paint):
        _print(line)


def _tail(parsed: argparse.Namespace, client: TracesClient, paint: Paint) -> None:
    said: dict[str, Any] = {}
    if not parsed.json:
        print(header(), flush=True)
    for trace in client.tail(_search(parsed)):
        seen = (trace["spans"], trace["status"], trace["stitch"], trace["open_spans"])
        if said.get(trace["trace_id"]) == seen:
            continue
        said[trace["trace_id"]] = seen
        if len(said) > _PAGE:
            said.pop(next(iter(said)))
        _print(json.dumps(trace) if parsed.json else row(trace, paint))
        sys.stdout.flush()
    raise CallError("the trace backend ended")


def _search(parsed: argparse.Namespace) -> dict[str, str]:
    given = {name: getattr(parsed, name) for name in _SEARCH}
    return {name: str(value) for name, value in given.items() if value is not None}


def _print(line: str) -> None:
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    print(line if encoding.startswith("utf") else to_ascii(line))


def _hush_output() -> None:
    """Have the interpreter flush what is left to nowhere if nobody takes it, and say nothing."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
