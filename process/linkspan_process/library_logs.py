"""What libraries log: less than services do, and no URI with what may be secret in it.

Pure but for `quiet_libraries`. Above lie `logs` and `log_export`. What a hosted server logs by loggers
of its own is its own affair.
"""

import logging
import re
from typing import Final

from linkspan_contract.shown_uri import shown_uri

_LIBRARIES: Final = ("mcp", "httpx", "httpx2", "httpcore", "httpcore2")
"""Whose lines for information tell of single requests: whole URIs of resources, texts of errors."""

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}+://\S+")
_AROUND: Final = "'\"`)]}>,;:."
"""What may follow a URI in a sentence, or quote it."""


def quiet_libraries(level: int) -> None:
    """Have libraries log what is wrong and nothing else, unless everything is asked for.

    Args:
        level: The level of the process, as `logging` has it.
    """
    theirs = logging.NOTSET if level <= logging.DEBUG else max(level, logging.WARNING)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(theirs)


def shown_text(logger: str, text: str) -> str:
    """Return what is shown of a text that was logged: of a library's URIs, what `shown_uri` leaves.

    Args:
        logger: The name of the logger.
        text: A message, or a stack trace.
    """
    if logger.partition(".")[0] not in _LIBRARIES:
        return text
    return _URI.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    uri = found[0].rstrip(_AROUND)
    return shown_uri(uri) + found[0][len(uri) :]
