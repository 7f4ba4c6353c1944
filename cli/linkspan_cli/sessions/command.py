"""What `linkspan sessions` does: walks, shows and ends sessions, and says how far it is.

Above lies `linkspan_cli.main`; below lie `client` (the calls), `ending` (many ends at once), `table`
(what is printed) and `progress`. Results go to standard output, all else to standard error.

Exit status: 0; 1 if a call failed or nothing was confirmed; 2 if the words are wrong; 130 after
Ctrl-C. Whoever closes the pipe has seen enough: that is no failure.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from linkspan.session.v1.session_pb2 import Session
from linkspan_cli.sessions.arguments import check_end
from linkspan_cli.sessions.client import (
    PAGE_SIZE,
    CallError,
    ServerUnreachableError,
    SessionsClient,
)
from linkspan_cli.sessions.ending import Tally, end_all
from linkspan_cli.sessions.formats import number
from linkspan_cli.sessions.progress import Progress
from linkspan_cli.sessions.selection import Selection
from linkspan_cli.sessions.table import details, header, json_line, row
from linkspan_process.errors import StartError
from linkspan_process.lifecycle import EXIT_BROKEN, EXIT_OK
from linkspan_process.tls import TlsConfig
from linkspan_process.tls.diagnosis import diagnose
from linkspan_process.tls.watching import TlsFiles, tls_files
from linkspan_worker.targets import name_of

NO_TLS: Final = TlsConfig()

EXIT_INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells have it."""


def run(parsed: argparse.Namespace, target: str, config: TlsConfig = NO_TLS) -> int:
    """Do what was asked.

    Args:
        parsed: The words, as `arguments.add_sessions` reads them.
        target: The gRPC target of the session servers.
        config: The settings of TLS.

    Returns:
        The exit status.

    Raises:
        StartError: The words do not go together, or there is nobody to ask.
    """
    tls = tls_files(config)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")  # a client's name may be in any script
    # From here on Ctrl-C has something to tidy up: asyncio turns it into a cancellation.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status = _act(parsed, target, tls)
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except ServerUnreachableError as error:
        wrong = asyncio.run(diagnose(target, config, name_of(target)))
        say(str(error) if wrong is None else f"no connection to {target}: {wrong}")
        status = EXIT_BROKEN
    except CallError as error:
        say(str(error))
        status = EXIT_BROKEN
    except BrokenPipeError:
        status = EXIT_OK
    except OSError as error:
        say(f"cannot write: {error.strerror}")
        status = EXIT_BROKEN
    _hush_output()
    return status


def say(words: str) -> None:
    """Write one line for people."""
    print(f"linkspan sessions: {words}", file=sys.stderr)


def _act(parsed: argparse.Namespace, target: str, tls: TlsFiles | None) -> int:
    match parsed.action:
        case "list":
            asyncio.run(_list(parsed, target, tls))
        case "show":
            asyncio.run(_show(parsed, target, tls))
        case _:
            return _end(parsed, target, tls)
    return EXIT_OK


def _hush_output() -> None:
    """Have the interpreter flush what is left to nowhere if nobody takes it, and say nothing."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


# --- list and show ---------------------------------------------------------------------------------


async def _list(parsed: argparse.Namespace, target: str, tls: TlsFiles | None) -> None:
    selection = _selection(parsed)
    page_size = PAGE_SIZE
    if parsed.limit is not None and selection.takes_all:
        page_size = min(page_size, parsed.limit)
    listed = 0
    async with aclosing(_walk(target, selection, tls, page_size=page_size)) as walk:
        async for sessions in walk:
            taken = sessions if parsed.limit is None else sessions[: parsed.limit - listed]
            if taken and not listed and not parsed.json:
                print(header())
            now = time.time()
            for session in taken:
                print(json_line(session) if parsed.json else row(session, now))
            sys.stdout.flush()
            listed += len(taken)
            if listed == parsed.limit:
                break
    if not listed and not parsed.json:
        print("no sessions" if selection.takes_all else "no such sessions", file=sys.stderr)


async def _walk(
    target: str, selection: Selection, tls: TlsFiles | None, *, page_size: int = PAGE_SIZE
) -> AsyncGenerator[list[Session]]:
    """Walk all sessions, and give those of each page that are meant.

    Says how far it is while it waits for the second page and those after it; not while the caller
    does something with what it was given, which may be to write to the same terminal.
    """
    progress = Progress(sys.stderr)
    seen, taken = 0, 0
    async with SessionsClient(target, page_size=page_size, tls=tls) as client:
        try:
            async for page in client.pages():
                progress.clear()
                now = time.time()
                meant = [each for each in page.sessions if selection.takes(each, now)]
                yield meant
                seen += len(page.sessions)
                taken += len(meant)
                if page.more:
                    of = "" if selection.takes_all else f"{number(taken)} of "
                    progress.show(f"{of}{number(seen)} sessions", done=seen)
        finally:
            progress.clear()


async def _show(parsed: argparse.Namespace, target: str, tls: TlsFiles | None) -> None:
    async with SessionsClient(target, tls=tls) as client:
        shown = await client.get(parsed.id)
    if parsed.json:
        print(json_line(shown.session, counted_by_owner=shown.counted_by_owner))
        return
    for line in details(shown.session, time.time(), counted_by_owner=shown.counted_by_owner):
        print(line)


# --- end -------------------------------------------------------------------------------------------


def _end(parsed: argparse.Namespace, target: str, tls: TlsFiles | None) -> int:
    check_end(parsed)
    if not parsed.yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise StartError("end asks first, and there is no terminal to ask on; add --yes to end")
    ids = list(dict.fromkeys(parsed.id))
    if parsed.all:
        ids = asyncio.run(_select(_selection(parsed), target, tls))
    if ids and not parsed.yes and not _confirmed(len(ids), target):
        say("nothing was ended")
        return EXIT_BROKEN
    tally = Tally(len(ids))
    try:
        asyncio.run(end_all(ids, target, tally, say=say, tls=tls))
    finally:
        print(tally.summary())
    return EXIT_BROKEN if tally.failed else EXIT_OK


async def _select(selection: Selection, target: str, tls: TlsFiles | None) -> list[str]:
    """Walk all sessions, and return the ids of those that are meant."""
    async with aclosing(_walk(target, selection, tls)) as walk:
        return [session.session_id async for sessions in walk for session in sessions]


def _confirmed(count: int, target: str) -> bool:
    what = "1 session" if count == 1 else f"{number(count)} sessions"
    sys.stderr.write(f"End {what} at {target}, for good? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _selection(parsed: argparse.Namespace) -> Selection:
    return Selection(parsed.state, parsed.owner, parsed.idle_for)
