"""Which scopes a request needs.

Pure. The rules are a TOML document of two tables: `methods`, by MCP method, or by the beginning of
its name with `*` behind it; and `tools`, by the name of a tool. All that apply are needed together.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, cast

from linkspan_auth.errors import AuthConfigurationError

CALL: Final = "tools/call"

_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""RFC 6749, section 3.3: visible ASCII without quotes and backslashes."""

_TABLES: Final = frozenset({"methods", "tools"})


def _no_rules() -> Mapping[str, frozenset[str]]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ScopeRules:
    """What is needed.

    Attributes:
        always: By every request.
        methods: By requests and notifications of a method; a name may end in `*`.
        tools: By calls of a tool.
    """

    always: frozenset[str] = frozenset()
    methods: Mapping[str, frozenset[str]] = field(default_factory=_no_rules)
    tools: Mapping[str, frozenset[str]] = field(default_factory=_no_rules)

    def __post_init__(self) -> None:
        """Check that every scope can stand in a challenge.

        Raises:
            AuthConfigurationError: One cannot.
        """
        for scope in self.all():
            if _SCOPE.fullmatch(scope) is None:
                raise AuthConfigurationError(
                    f"{scope!r} is no scope: visible ASCII without quotes and backslashes"
                )

    def all(self) -> tuple[str, ...]:
        """Return every scope that is named anywhere, sorted."""
        named = set(self.always)
        for scopes in (*self.methods.values(), *self.tools.values()):
            named |= scopes
        return tuple(sorted(named))

    def needed(self, calls: Iterable[tuple[str, str | None]]) -> frozenset[str]:
        """Return what messages need together.

        Args:
            calls: The method of each, and the tool that it calls, or None.
        """
        needed = self.always
        if self.methods or self.tools:
            for method, tool in calls:
                needed |= self._of_method(method)
                if tool is not None and method == CALL:
                    needed |= self.tools.get(tool, frozenset())
        return needed

    def _of_method(self, method: str) -> frozenset[str]:
        needed = self.methods.get(method, frozenset[str]())
        for pattern, scopes in self.methods.items():
            if pattern.endswith("*") and method.startswith(pattern[:-1]):
                needed |= scopes
        return needed


def parse_rules(text: str, always: frozenset[str] = frozenset()) -> ScopeRules:
    """Read the rules.

    Raises:
        AuthConfigurationError: The text is not TOML, or not of that form.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AuthConfigurationError(f"is not TOML: {error}") from None
    unknown = document.keys() - _TABLES
    if unknown:
        raise AuthConfigurationError(
            f"{min(unknown)!r} is not known; there are the tables methods and tools"
        )
    return ScopeRules(always, _table(document, "methods"), _table(document, "tools"))


def read_scopes(value: object) -> frozenset[str] | None:
    """Read the scopes of a token: words with spaces between them, or a list; None if neither."""
    if value is None:
        return frozenset()
    if isinstance(value, str):
        return frozenset(value.split())
    if isinstance(value, list):
        members = cast("list[object]", value)
        words = [each for each in members if isinstance(each, str)]
        return frozenset(words) if len(words) == len(members) else None
    return None


def _table(document: dict[str, object], name: str) -> Mapping[str, frozenset[str]]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise AuthConfigurationError(f"{name} must be a table")
    rules: dict[str, frozenset[str]] = {}
    for key, value in cast("dict[str, object]", table).items():
        scopes = read_scopes(value)
        if not scopes:
            raise AuthConfigurationError(f"{name}.{key}: must be a list of scopes")
        rules[key] = scopes
    return MappingProxyType(rules)
