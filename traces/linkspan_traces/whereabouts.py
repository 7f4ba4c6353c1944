"""Where a running backend is: a file in its data folder, which `linkspan traces` looks into.

The file holds the page's URL. It goes with the process that wrote it, unless that was killed; who
reads it has to expect that nobody is there any more.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

FILE: Final = "traces.url"
_MAX_CHARS: Final = 300


@contextmanager
def announced(data: Path, url: str) -> Generator[None]:
    """Have the file say where the backend is until the block is left."""
    path = data / FILE
    # Another process may be reading it: it has to be there as a whole.
    draft = data / f"{FILE}.{os.getpid()}"
    with suppress(OSError):  # a full disk keeps nobody from serving
        draft.write_text(url + "\n")
        draft.replace(path)
    try:
        yield
    finally:
        if find(data) == url:
            with suppress(OSError):
                path.unlink()


def find(data: Path) -> str | None:
    """Return the URL that the file says; None if there is none."""
    try:
        url = (data / FILE).read_text()[:_MAX_CHARS].strip()
    except (OSError, UnicodeDecodeError):
        return None
    return url if url.startswith("http://") else None
