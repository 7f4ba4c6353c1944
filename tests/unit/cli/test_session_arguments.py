"""The words of `linkspan sessions`: ids that look like flags, and words that do not go together."""

import argparse

import pytest

from linkspan_cli.sessions.arguments import add_sessions, check_end, shield_ids
from linkspan_process.errors import StartError

MINTED = "-Qx3J5dJ0pUuW5vTq2bVv0mJ3yq8m2l0Xo4l1e6t9Zk"


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    add_sessions(commands.add_parser("sessions", allow_abbrev=False))
    return parser.parse_args(shield_ids(("sessions", *words)))


@pytest.mark.parametrize(
    "words",
    [
        (MINTED, "--yes", "--server", "127.0.0.1:1"),
        ("--yes", "--server", "127.0.0.1:1", MINTED),
        ("--yes", "--server", "127.0.0.1:1", "--", MINTED),
    ],
)
def test_an_id_may_start_with_a_hyphen(words: tuple[str, ...]) -> None:
    parsed = parse("end", *words)
    assert (parsed.id, parsed.yes, parsed.server) == ([MINTED], True, "127.0.0.1:1")
    assert parse("show", MINTED).id == MINTED


def test_an_id_may_start_like_the_flag_for_help() -> None:
    assert parse("show", "-hello").id == "-hello"
    assert parse("show", "--", "--json").id == "--json"


@pytest.mark.parametrize(
    "words", [("show", "-x"), ("end", "-y"), ("end", "--yess"), ("list", "-x1")]
)
def test_a_flag_that_there_is_not_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        parse(*words)


def test_words_of_other_commands_are_left_alone() -> None:
    words = ["run", "-abc", "--", "-def"]
    assert shield_ids(words) == words
    assert shield_ids(["sessions", "list", "-abc"]) == ["sessions", "list", "-abc"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "end needs the ids of the sessions to end, or --all"),
        (("a", "--all"), "end takes either session ids or --all, not both"),
        (("a", "--state", "live"), "with --all only"),
        (("a", "--owner", "o"), "with --all only"),
        (("a", "--idle-for", "1"), "with --all only"),
    ],
)
def test_words_that_do_not_go_together_are_refused(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(StartError, match=says):
        check_end(parse("end", *words))


@pytest.mark.parametrize("words", [("a",), ("a", "b"), ("--all",), ("--all", "--idle-for", "9")])
def test_words_that_go_together_are_taken(words: tuple[str, ...]) -> None:
    check_end(parse("end", *words))


@pytest.mark.parametrize(
    "words",
    [
        ("show",),
        ("show", "a", "b"),
        ("show", "a b"),
        ("show", "é"),
        ("show", "x" * 129),
        ("end", ""),
        ("list", "--limit", "0"),
        ("list", "--idle-for", "soon"),
        ("list", "--owner", ""),
        ("list", "--state", "ended"),
        ("list", "--server", "nowhere"),
        ("list", "an-id"),
    ],
)
def test_words_that_cannot_be_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        parse(*words)


def test_a_list_of_servers_becomes_a_target() -> None:
    parsed = parse("list", "--server", "10.0.0.1:1,10.0.0.2:2")
    assert parsed.server == "ipv4:10.0.0.1:1,10.0.0.2:2"
