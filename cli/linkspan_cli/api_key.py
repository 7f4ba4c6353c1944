"""`linkspan api-key`: makes an API key, shows it once, and puts its digest into a file.

Above lies `linkspan_cli.main`. Imports nothing that is slow to load, because `--help` goes through
here.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Final, TypeVar

from linkspan_process.errors import StartError
from linkspan_process.lifecycle import EXIT_OK
from linkspan_process.settings import parse_count, parse_path, parse_some_text, parse_words

NOTES: Final = """\
The key goes to standard output and is nowhere else: the file holds its SHA-256. A worker reads the
file again when it changes; take a key's line out of it, and the key is refused within
--auth-remember, a minute at most."""

T = TypeVar("T")

_DAY_SECONDS: Final = 24 * 3600


def add_api_key(parser: argparse.ArgumentParser) -> None:
    """Add the words of `linkspan api-key`."""
    parser.add_argument(
        "--file", required=True, metavar="FILE", help="the file of keys, as in --auth-api-keys"
    )
    parser.add_argument(
        "--subject",
        required=True,
        metavar="NAME",
        help="whose key it is; keys of one subject share its sessions",
    )
    parser.add_argument(
        "--scopes", default="", metavar="SCOPES", help="what it allows, separated by commas"
    )
    parser.add_argument("--organization", default="", metavar="NAME", help="whom it belongs to")
    parser.add_argument("--days", metavar="N", help="how long it lasts, in days (default: forever)")


def run(parsed: argparse.Namespace) -> int:
    """Make a key.

    Raises:
        StartError: A word is wrong, or the file cannot be written, or holds something else.
    """
    from linkspan_auth import (  # noqa: PLC0415 - heavy, and --help needs none of it
        AuthConfigurationError,
        KeyFileError,
        ScopeRules,
        append_key,
        make_key,
    )

    try:
        subject = _given("--subject", parse_some_text, parsed.subject)
        scopes = ScopeRules(parse_words(parsed.scopes)).always
        expires = None
        if parsed.days is not None:
            expires = time.time() + _given("--days", parse_count, parsed.days) * _DAY_SECONDS
        key, line = make_key(
            subject, scopes=scopes, expires=expires, organization=parsed.organization
        )
        append_key(_given("--file", parse_path, parsed.file), line)
    except KeyFileError as error:
        raise StartError(f"--file {error}") from None
    except AuthConfigurationError as error:
        raise StartError(str(error)) from None
    except OSError as error:
        raise StartError(f"--file {parsed.file}: {error.strerror or error}") from None
    print(key)
    print(f"key {line.id} of {subject} is in {parsed.file}; it is not shown again", file=sys.stderr)
    return EXIT_OK


def _given(flag: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise StartError(f"{flag}: {error}") from None
