"""Settings from the environment and the command line: what wins, and what stops the start."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import pytest

from linkspan_process.errors import SettingError, StartError
from linkspan_process.settings import (
    add_flags,
    from_env,
    parse_address,
    parse_choice,
    parse_path,
    parse_port,
    parse_seconds,
    parse_text,
    setting,
    with_flags,
)
from linkspan_session.config import ENV_PREFIX as SESSION_PREFIX
from linkspan_session.config import SessionConfig
from linkspan_worker.config import ENV_PREFIX as WORKER_PREFIX
from linkspan_worker.config import WorkerConfig

PREFIX = "TOASTER_"


@dataclass(frozen=True, slots=True)
class Toaster:
    slot_count: int = setting(2, parse=int, help="how many slots", metavar="N")
    seconds: float = setting(90.0, parse=parse_seconds, help="how long", metavar="SECONDS")
    name: str = setting("", parse=parse_text, help="what it is called", metavar="NAME")


def flags(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_flags(parser, Toaster, prefix=PREFIX)
    return parser.parse_args(arguments)


def test_without_a_word_everything_is_the_default() -> None:
    assert from_env(Toaster, {"PATH": "/bin", "TOASTERS_NAME": "x"}, prefix=PREFIX) == Toaster()
    assert with_flags(Toaster(), flags()) == Toaster()


def test_the_environment_wins_over_the_default_and_a_flag_over_the_environment() -> None:
    environ = {"TOASTER_SLOT_COUNT": "4", "TOASTER_NAME": "big"}
    from_environment = from_env(Toaster, environ, prefix=PREFIX)
    assert from_environment == Toaster(slot_count=4, name="big")
    assert with_flags(from_environment, flags("--slot-count", "6")) == Toaster(6, 90.0, "big")


def test_an_unknown_variable_with_the_prefix_is_refused_and_the_known_are_named() -> None:
    with pytest.raises(SettingError) as refused:
        from_env(Toaster, {"TOASTER_SLOTS": "4"}, prefix=PREFIX)
    assert str(refused.value) == (
        "TOASTER_SLOTS is not a setting; the settings are "
        "TOASTER_NAME, TOASTER_SECONDS, TOASTER_SLOT_COUNT"
    )


def test_a_bad_value_is_refused_under_the_name_it_was_given_by() -> None:
    with pytest.raises(SettingError, match=r"^TOASTER_SECONDS: must be seconds.*, not 'long'$"):
        from_env(Toaster, {"TOASTER_SECONDS": "long"}, prefix=PREFIX)
    with pytest.raises(SettingError, match=r"^--seconds: must be seconds.*, not '-1'$"):
        with_flags(Toaster(), flags("--seconds", "-1"))


def test_help_names_the_default_and_the_variable() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, Toaster, prefix=PREFIX)
    text = " ".join(parser.format_help().split())
    assert "--slot-count N how many slots (default: 2; TOASTER_SLOT_COUNT)" in text
    assert "what it is called (default: none; TOASTER_NAME)" in text


@pytest.mark.parametrize(("text", "port"), [("0", 0), ("8080", 8080), ("65535", 65535)])
def test_a_port_is_taken(text: str, port: int) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["-1", "65536", "http", "", "80.0", "9" * 5000])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a port from 0 to 65535"):
        parse_port(text)


@pytest.mark.parametrize(("text", "seconds"), [("0.5", 0.5), ("1e2", 100.0), ("604800", 604800.0)])
def test_seconds_are_taken(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "604801", "nan", "inf", "", "5s", "1_0_"])
def test_what_is_no_span_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be seconds"):
        parse_seconds(text)


def test_a_choice_is_taken_in_any_case_and_nothing_else() -> None:
    parse = parse_choice("info", "debug")
    assert parse("INFO") == "info"
    with pytest.raises(ValueError, match="must be one of info, debug, not 'loud'"):
        parse("loud")


def test_a_path_may_start_at_home_but_not_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert parse_path("~/data") == Path("/home/ada/data")
    with pytest.raises(ValueError, match="must not be empty"):
        parse_path("")


def test_a_setting_error_stops_the_start() -> None:
    assert issubclass(SettingError, StartError)


@pytest.mark.parametrize(
    ("settings", "prefix"), [(SessionConfig, SESSION_PREFIX), (WorkerConfig, WORKER_PREFIX)]
)
def test_each_setting_of_a_service_says_its_unit_default_and_variable(
    settings: type[SessionConfig | WorkerConfig], prefix: str
) -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, settings, prefix=prefix)
    text = " ".join(parser.format_help().split())
    for name in settings.__dataclass_fields__:
        flag = f"--{name.replace('_', '-')} "
        told = text.rpartition(flag)[2].partition(" --")[0]
        assert told.endswith(f"; {prefix}{name.upper()})")
        assert "(default: " in told
        assert ("in seconds" in told) == ("SECONDS" in told)


@pytest.mark.parametrize(
    ("settings", "prefix", "variable", "text"),
    [
        (SessionConfig, SESSION_PREFIX, "LINKSPAN_SESSION_PORT", "http"),
        (SessionConfig, SESSION_PREFIX, "LINKSPAN_SESSION_REQUEST_TIMEOUT", "0"),
        (SessionConfig, SESSION_PREFIX, "LINKSPAN_SESSION_DATA", ""),
        (SessionConfig, SESSION_PREFIX, "LINKSPAN_SESSION_DATABASE", "x"),
        (WorkerConfig, WORKER_PREFIX, "LINKSPAN_WORKER_LOG_LEVEL", "loud"),
        (WorkerConfig, WORKER_PREFIX, "LINKSPAN_WORKER_COMMENT_EVERY", "-5"),
        (WorkerConfig, WORKER_PREFIX, "LINKSPAN_WORKER_SESSIONS", "x"),
    ],
)
def test_a_bad_or_unknown_variable_of_a_service_is_refused_in_one_line(
    settings: type[SessionConfig | WorkerConfig], prefix: str, variable: str, text: str
) -> None:
    with pytest.raises(SettingError) as refused:
        from_env(settings, {variable: text}, prefix=prefix)
    assert str(refused.value).startswith(variable)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "10.0.0.1:50051", "sessions-0.sessions:1", "[fd00::1]:65535"])
def test_an_address_that_others_reach_is_taken(text: str) -> None:
    assert parse_address(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        ":50051",
        "host:0",
        "host:65536",
        "0.0.0.0:5",
        "[::]:5",
        "$(POD_IP):50051",
        "a b:1",
    ],
)
def test_an_address_that_nobody_reaches_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an address"):
        parse_address(text)
