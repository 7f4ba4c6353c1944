"""Writes docs/requirements.md, the table of claims with the tests that prove them.

    python -m tests.render_requirements

What proves a claim is read from the source of the tests, without running them: every function whose
name starts with `test_` and that carries `@requirement("an.id")`.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.requirements import REQUIREMENTS

REPOSITORY: Final = Path(__file__).parents[1]
PAGE: Final = REPOSITORY / "docs" / "requirements.md"

_HEAD: Final = """\
# Requirements

What Linkspan claims to do, where each claim comes from, and the tests that prove it. The claims are
in `tests/requirements.py`; this page is made from them by `python -m tests.render_requirements`,
and a test fails if it is not up to date.

| id | claim | source | tests |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """A test that carries a requirement.

    Attributes:
        path: The test's file, from the root of the repository.
        name: The test's name.
    """

    path: str
    name: str


class UnreadableMarkError(Exception):
    """A `@requirement(...)` does not name its ids in so many words."""


def proofs() -> Mapping[str, Sequence[Proof]]:
    """Find which tests carry which ids, of claims or not.

    Raises:
        UnreadableMarkError: A mark's arguments are not plain strings, or it is not on a test.
    """
    found: defaultdict[str, list[Proof]] = defaultdict(list)
    for path in sorted((REPOSITORY / "tests").rglob("*.py")):
        place = path.relative_to(REPOSITORY).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"), place)
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for each in _ids(function, place):
                    found[each].append(Proof(place, function.name))
    return found


def render(proven_by: Mapping[str, Sequence[Proof]]) -> str:
    """Write the page."""
    rows = [
        f"| `{each.id}` | {each.text} | {_source(each.source)} "
        f"| {'<br>'.join(_test(proof) for proof in proven_by.get(each.id, ())) or 'none'} |\n"
        for each in REQUIREMENTS.values()
    ]
    return _HEAD + "".join(rows)


def _ids(function: ast.FunctionDef | ast.AsyncFunctionDef, place: str) -> Iterator[str]:
    for decorator in function.decorator_list:
        match decorator:
            case ast.Call(func=ast.Name("requirement"), args=args):
                where = f"{place}:{decorator.lineno}"
                if not function.name.startswith("test_"):
                    raise UnreadableMarkError(f"{where}: {function.name} is not a test")
                for argument in args:
                    match argument:
                        case ast.Constant(str() as named):
                            yield named
                        case _:
                            raise UnreadableMarkError(f"{where}: name the ids as plain strings")
            case _:
                pass


def _source(source: str) -> str:
    if source.startswith("https://"):
        return f"[{source.rstrip('/').rpartition('/')[2]}]({source})"
    return f"[{source}](../{source})"


def _test(proof: Proof) -> str:
    return f"[{proof.name}](../{proof.path})"


if __name__ == "__main__":
    PAGE.write_text(render(proofs()), encoding="utf-8")
