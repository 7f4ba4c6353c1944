"""Writes the pictures into docs/traces-of-requests.md, each below the comment that names it.

    python -m tests.trees.render_page

The words between them are written by hand. A picture on the page has fewer values than its file,
and shorter names for what made a span.
"""

import re
from pathlib import Path
from typing import Final

from tests.trees.stage import PICTURES

PAGE: Final = Path(__file__).parents[2] / "docs" / "traces-of-requests.md"

_PLACE: Final = re.compile(r"<!-- ([\w-]+) -->\n(?:\n```text\n.*?\n```\n)?", re.DOTALL)
_ATTRIBUTE: Final = re.compile(r"[│ ]*[a-z][\w.-]*=")
_SERVICE: Final = re.compile(r"\[linkspan-")
_VALUE: Final = re.compile(r" [a-z][\w.-]*=")


def render(page: str) -> str:
    """Return the page with the pictures as they are now."""
    return _PLACE.sub(lambda place: _block(place[1]), page)


def named(page: str) -> list[str]:
    """Return the names of the pictures on the page, in its order."""
    return [place[1] for place in _PLACE.finditer(page)]


def shown(picture: str) -> str:
    """Return a picture as the page has it."""
    kept = (line for line in picture.splitlines() if not _ATTRIBUTE.match(line))
    return "\n".join(_VALUE.sub(" ", _SERVICE.sub("[", line)).rstrip() for line in kept)


def _block(name: str) -> str:
    picture = (PICTURES / f"{name}.txt").read_text(encoding="utf-8")
    return f"<!-- {name} -->\n\n```text\n{shown(picture)}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
