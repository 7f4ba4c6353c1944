"""Settings as one frozen dataclass a service, read from the environment and the command line.

A service declares each setting once, with `setting(...)`: name, default, unit, help and parser.
From that one table come the environment variable (`PREFIX_NAME`), the flag (`--name`), the help
text and the checks. A flag wins over the environment, which wins over the default. Nothing here
reads `os.environ` by itself.
"""

import argparse
import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeVar, cast

from linkspan_process.errors import SettingError

T = TypeVar("T")
C = TypeVar("C", bound="Settings")

_ADDRESS: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
_NO_HOSTS: Final = ("0.0.0.0", "[::]")  # noqa: S104 - compared, not bound

_DECLARATION: Final = "linkspan.setting"


class Settings(Protocol):
    """A frozen dataclass whose fields were declared with `setting`."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


@dataclass(frozen=True, slots=True)
class _Declaration:
    parse: Callable[[str], object]
    help: str
    metavar: str


def setting(default: T, *, parse: Callable[[str], T], help: str, metavar: str) -> T:  # noqa: A002
    """Declare one field of a settings dataclass.

    Args:
        default: What it is when nobody says.
        parse: Turns text into the value; raises ValueError with a reason that fits after
            "NAME: ".
        help: One line for people; says the unit.
        metavar: What stands for the value in help texts.
    """
    declaration = _Declaration(parse, help, metavar)
    return dataclasses.field(default=default, metadata={_DECLARATION: declaration})


def from_env(settings: type[C], environ: Mapping[str, str], *, prefix: str) -> C:
    """Read settings from environment variables that start with `prefix`.

    Raises:
        SettingError: A variable with the prefix is not a setting, or a value is bad.
    """
    declared = {prefix + name.upper(): (name, each) for name, each in _declarations(settings)}
    values: dict[str, object] = {}
    for variable, text in environ.items():
        if not variable.startswith(prefix):
            continue
        if variable not in declared:
            known = ", ".join(sorted(declared))
            raise SettingError(f"{variable} is not a setting; the settings are {known}")
        name, declaration = declared[variable]
        values[name] = _parse(variable, declaration, text)
    return settings(**values)


def add_flags(parser: argparse.ArgumentParser, settings: type[Settings], *, prefix: str) -> None:
    """Add one flag a setting to `parser`; its help names the variable and the default."""
    defaults = settings()
    for name, declaration in _declarations(settings):
        default = getattr(defaults, name)
        shown = default if default or default == 0 else "none"
        if isinstance(default, frozenset):
            shown = ",".join(sorted(map(str, cast("frozenset[object]", default)))) or "none"
        if isinstance(default, bool):
            shown = "yes" if default else "no"
        parser.add_argument(
            "--" + name.replace("_", "-"),
            dest=name,
            default=None,
            nargs="?" if isinstance(default, bool) else None,
            const="yes" if isinstance(default, bool) else None,
            metavar=declaration.metavar,
            help=f"{declaration.help} (default: {shown}; {prefix}{name.upper()})",
        )


def with_flags(base: C, arguments: argparse.Namespace) -> C:
    """Return `base` with every flag that was given on the command line put over it.

    Raises:
        SettingError: A flag's value is bad.
    """
    values: dict[str, object] = {}
    for name, declaration in _declarations(type(base)):
        text: str | None = getattr(arguments, name, None)
        if text is not None:
            values[name] = _parse("--" + name.replace("_", "-"), declaration, text)
    return dataclasses.replace(base, **values)


def parse_text(text: str) -> str:
    """Take any text."""
    return text


def parse_some_text(text: str) -> str:
    """Take any text but none."""
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def parse_words(text: str) -> frozenset[str]:
    """Take words separated by commas; white space around them does not count."""
    return frozenset(word.strip() for word in text.split(",") if word.strip())


def parse_list(text: str) -> tuple[str, ...]:
    """Take words separated by commas, in their order, each once."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def parse_captured_keys(text: str) -> frozenset[str]:
    """Take names of headers or metadata separated by commas, none whose values may be secrets."""
    from linkspan_propagation.capture import checked_keys  # noqa: PLC0415 - heavy, and seldom used

    return checked_keys(parse_words(text))


def parse_path(text: str) -> Path:
    """Take a file system path; `~` is the home directory."""
    if not text:
        raise ValueError("must not be empty")
    return Path(text).expanduser()


def parse_optional_path(text: str) -> Path | None:
    """Take a file system path, or nothing for none; `~` is the home directory."""
    return Path(text).expanduser() if text else None


def parse_yes(text: str) -> bool:
    """Take `yes` or `no`, in any case; a flag of this kind alone is `yes`."""
    return parse_choice("yes", "no")(text) == "yes"


def parse_port(text: str) -> int:
    """Take a TCP port from 0 to 65535; 0 takes a free one."""
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:  # noqa: PLR2004 - the range of a TCP port
        raise ValueError(f"must be a port from 0 to 65535, not {text!r}")
    return port


def parse_address(text: str) -> str:
    """Take nothing, or `host:port` as others may reach it; an IPv6 address is in brackets."""
    match = _ADDRESS.fullmatch(text)
    if text and (match is None or not 0 < int(match[2]) < 65536 or match[1] in _NO_HOSTS):  # noqa: PLR2004
        raise ValueError(
            f"must be an address that others reach, such as 10.0.0.1:50051, not {text!r}"
        )
    return text


def parse_seconds(text: str) -> float:
    """Take a positive number of seconds, at most a week."""
    return _seconds(text, 7, "a week")


def parse_long_seconds(text: str) -> float:
    """Take a positive number of seconds, at most ten years."""
    return _seconds(text, 3650, "ten years")


def parse_optional_long_seconds(text: str) -> float | None:
    """Take a positive number of seconds, at most ten years, or nothing for none."""
    return parse_long_seconds(text) if text else None


def _seconds(text: str, max_days: int, max_name: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= max_days * 24 * 3600:
        raise ValueError(f"must be seconds, more than 0 and at most {max_name}, not {text!r}")
    return seconds


def parse_count(text: str) -> int:
    """Take a positive whole number, at most a billion."""
    count = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0  # noqa: PLR2004
    if not 0 < count <= 1_000_000_000:  # noqa: PLR2004 - as above
        raise ValueError(f"must be a number from 1 to 1000000000, not {text!r}")
    return count


def parse_optional_count(text: str) -> int | None:
    """Take a positive whole number, at most a billion, or nothing for none."""
    return parse_count(text) if text else None


def parse_bytes(text: str) -> int:
    """Take a positive number of bytes, with `k` or `M` after it for KiB and MiB, up to 1 GiB."""
    factor = {"k": 1024, "m": 1024 * 1024}.get(text[-1:].lower(), 1)
    digits = text[:-1] if factor > 1 else text
    size = int(digits) * factor if digits.isascii() and digits.isdigit() else 0
    if not 0 < size <= 1024**3:
        raise ValueError(f"must be bytes, such as 8388608 or 8M, at most 1024M, not {text!r}")
    return size


def parse_choice(*choices: str) -> Callable[[str], str]:
    """Make a parser that takes one of `choices`, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, not {text!r}")
        return text.lower()

    return parse


def _declarations(settings: type[Settings]) -> list[tuple[str, _Declaration]]:
    return [(field.name, field.metadata[_DECLARATION]) for field in dataclasses.fields(settings)]


def _parse(name: str, declaration: _Declaration, text: str) -> object:
    try:
        return declaration.parse(text)
    except ValueError as error:
        raise SettingError(f"{name}: {error}") from None
