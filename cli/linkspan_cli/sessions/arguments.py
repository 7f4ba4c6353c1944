"""The words of `linkspan sessions`: which there are, and which go together.

Above lies `linkspan_cli.main`; `command` does what was asked. Imports nothing that is slow to load,
because `--help` goes through here.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from linkspan_contract.limits import is_session_id
from linkspan_process.errors import StartError
from linkspan_process.settings import (
    add_flags,
    parse_count,
    parse_long_seconds,
    parse_some_text,
)
from linkspan_process.tls import TlsConfig
from linkspan_worker.targets import parse_target

T = TypeVar("T")

STATES: Final = ("live", "asleep", "created")
"""The states of sessions that can be listed."""

EXAMPLES: Final = """\
examples:
  linkspan sessions list --state live             what is in memory now
  linkspan sessions list --json | jq .client_name
  linkspan sessions show ID                       all there is about one
  linkspan sessions end ID ID                     asks, then ends them
  linkspan sessions end --all --idle-for 86400 --yes

Whoever knows a session's id may be able to use the session: keep what is printed to yourself."""

_LIST: Final = """\
List the sessions that are open, oldest first. Sessions of all principals are shown."""

_LIST_NOTES: Final = """\
IDLE is how long ago a session was last active, to within a minute. RUNNING is how many requests run
in it on the session server that answers; 0 if another one has the session. What a client says of
itself is shown as it came. Ids are shown whole, because `show` and `end` need them."""

_END: Final = """\
End sessions, as their clients would: what they run is cancelled, their data is deleted, and their
clients have to start anew. Asks first, unless told --yes."""

_END_NOTES: Final = """\
--all takes the sessions as they are when they are listed; one that is used again before its turn
comes is ended all the same. Write -- before an id that starts with two hyphens."""

_SHOW_NOTES: Final = "Write -- before an id that starts with two hyphens."


def add_sessions(parser: argparse.ArgumentParser) -> None:
    """Add `list`, `show` and `end` to the parser of `linkspan sessions`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser(
        "list",
        help="list the sessions that are open",
        description=_LIST,
        epilog=_LIST_NOTES,
        allow_abbrev=False,
    )
    _add_selection(listing)
    listing.add_argument(
        "--limit", type=_checked(parse_count), metavar="N", help="list no more than N sessions"
    )
    showing = actions.add_parser(
        "show",
        help="show all there is about one session",
        description="Show all there is about one session, ended and expired ones included.",
        epilog=_SHOW_NOTES,
        allow_abbrev=False,
    )
    showing.add_argument("id", type=_session_id, metavar="ID", help="the session's id")
    for each in (listing, showing):
        each.add_argument("--json", action="store_true", help="print one JSON object a line")
    ending = actions.add_parser(
        "end", help="end sessions", description=_END, epilog=_END_NOTES, allow_abbrev=False
    )
    ending.add_argument("id", nargs="*", type=_session_id, metavar="ID", help="the sessions' ids")
    ending.add_argument(
        "--all", action="store_true", help="end all sessions, or all that the next flags pick"
    )
    _add_selection(ending)
    ending.add_argument("--yes", action="store_true", help="end them without asking")
    for each in (listing, showing, ending):
        each.add_argument(
            "--server",
            type=_checked(parse_target),
            metavar="TARGET",
            help="the session server to ask: HOST:PORT, a list of addresses and ports with commas "
            "between them, or a gRPC target such as dns:///NAME:PORT (default: what "
            "LINKSPAN_WORKER_SESSION says, or 127.0.0.1:50051)",
        )
        add_flags(each, TlsConfig, prefix="LINKSPAN_WORKER_")


def check_end(parsed: argparse.Namespace) -> None:
    """Refuse words after `end` that do not go together.

    Raises:
        StartError: They do not, and the message says which to leave out.
    """
    selects = (parsed.state, parsed.owner, parsed.idle_for) != (None, None, None)
    if parsed.all and parsed.id:
        raise StartError("end takes either session ids or --all, not both")
    if not parsed.all and not parsed.id:
        raise StartError("end needs the ids of the sessions to end, or --all")
    if selects and not parsed.all:
        raise StartError("end takes --state, --owner and --idle-for with --all only")


def shield_ids(words: Sequence[str]) -> list[str]:
    """Have argparse take for an id what starts with a hyphen and is one.

    One of 64 session ids that a worker mints starts with a hyphen, and none is as short as a flag
    of one letter. A blank before the word keeps argparse from looking for a flag in it, and no id has
    a blank in it.

    Args:
        words: What came after the command's name.

    Returns:
        The same, with a blank before each such id after `sessions show` or `sessions end`.
    """
    if list(words[:2]) not in (["sessions", "show"], ["sessions", "end"]):
        return list(words)
    end = words.index("--") if "--" in words else len(words)
    return [
        f" {word}" if place < end and _has_one_hyphen(word) else word
        for place, word in enumerate(words)
    ]


def _has_one_hyphen(word: str) -> bool:
    return word.startswith("-") and not word.startswith("--") and len(word) > len("-h")


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=STATES, help="only sessions in this state")
    parser.add_argument(
        "--owner",
        type=_checked(parse_some_text),
        metavar="ADDRESS",
        help="only sessions that the session server at ADDRESS has in memory",
    )
    parser.add_argument(
        "--idle-for",
        type=_checked(parse_long_seconds),
        metavar="SECONDS",
        help="only sessions that were not active for so long, to within a minute",
    )


def _session_id(text: str) -> str:
    session_id = text.removeprefix(" ")
    if not is_session_id(session_id):
        raise argparse.ArgumentTypeError(
            f"must be a session id, 1 to 128 characters of visible ASCII, not {text!r}"
        )
    return session_id


def _checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Have a parser's own words reach whoever typed the value."""

    def parse_argument(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse_argument
