"""The words of `linkspan traces`: which there are, and which go together.

Above lies `linkspan_cli.main`; `command` does what was asked. Imports nothing that is slow to load,
because `--help` goes through here.
"""

import argparse
from collections.abc import Callable
from typing import Final, TypeVar
from urllib.parse import urlsplit

from linkspan_process.settings import add_flags, parse_count, parse_path
from linkspan_traces.config import ENV_PREFIX, TracesConfig
from linkspan_traces.store.filters import STATUSES

T = TypeVar("T")

EXAMPLES: Final = """\
examples:
  linkspan traces serve                        the web page, and a place to send spans to
  linkspan traces list --status failed
  linkspan traces list --session ID            one session's requests
  linkspan traces show 4bf92f                  a waterfall; an id may be cut
  linkspan traces show last
  linkspan traces tail --tool add

Any program sends its spans with OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318."""

_SHOW_NOTES: Final = """\
ID is a trace's id, the first digits of one, or `last`. Colours and bars follow the terminal;
NO_COLOR leaves the colours out."""


def add_traces(parser: argparse.ArgumentParser) -> None:
    """Add `serve`, `list`, `show` and `tail` to the parser of `linkspan traces`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    serving = actions.add_parser(
        "serve",
        help="run the trace backend: OTLP in, a web page out",
        description="Run the trace backend: OTLP over gRPC and HTTP in, a web page out.",
        allow_abbrev=False,
    )
    add_flags(serving, TracesConfig, prefix=ENV_PREFIX)
    serving.add_argument(
        "--with-parent",
        action="store_true",
        help="stop when standard input ends, so as not to outlive the parent process",
    )
    listing = actions.add_parser(
        "list", help="list traces", description="List traces, newest first.", allow_abbrev=False
    )
    listing.add_argument(
        "--limit",
        type=_checked(parse_count),
        default=50,
        metavar="N",
        help="list no more than N traces (default: 50)",
    )
    showing = actions.add_parser(
        "show",
        help="draw one trace as a waterfall",
        description="Draw one trace as a waterfall.",
        epilog=_SHOW_NOTES,
        allow_abbrev=False,
    )
    showing.add_argument("id", metavar="ID", help="a trace's id, how it begins, or `last`")
    tailing = actions.add_parser(
        "tail",
        help="show traces as they come",
        description="Show traces as they come, each once it is whole, until Ctrl-C.",
        allow_abbrev=False,
    )
    for each in (listing, tailing):
        _add_search(each)
    for each in (listing, showing, tailing):
        each.add_argument("--json", action="store_true", help="print one JSON object a line")
        each.add_argument(
            "--url",
            type=_checked(_parse_url),
            metavar="URL",
            help="the trace backend to ask (default: the one that says in --data where it is, or "
            "else http://127.0.0.1:4318)",
        )
        each.add_argument(
            "--data",
            type=_checked(parse_path),
            metavar="DIR",
            help="the folder of the backend to ask (default: .linkspan)",
        )


def _add_search(parser: argparse.ArgumentParser) -> None:
    for name, words in (
        ("trace", "only the trace with this id, or those whose ids begin so"),
        ("session", "only traces of this MCP session: its id or its digest"),
        ("method", "only traces with this MCP method"),
        ("tool", "only traces in which this tool was called"),
        ("service", "only traces that went through this service"),
    ):
        parser.add_argument(f"--{name}", metavar=name.upper(), help=words)
    parser.add_argument("--status", choices=STATUSES, help="only traces in this state")
    for name, words in (("min", "at least"), ("max", "at most")):
        parser.add_argument(
            f"--{name}-ms",
            type=float,
            metavar="MS",
            help=f"only traces that took {words} so many milliseconds",
        )


def _parse_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"must be an address such as http://127.0.0.1:4318, not {text!r}")
    return text.rstrip("/")


def _checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Have a parser's own words reach whoever typed the value."""

    def parse_argument(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse_argument
