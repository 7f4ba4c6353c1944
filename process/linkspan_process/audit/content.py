"""What the audit trail shows of arguments and results, where it is told to show any.

Pure. What looks like a credential is left out, by its name or its shape: a net with holes, so that
whoever turns content on still has to treat the trail as they treat the content. The work is bounded
by what is shown, not by what there is. Invariant: no value makes it raise, be it JSON or not.
"""

import json
import re
from typing import Any, Final, cast

from linkspan_process.audit.events import CONTENT_CHARS

REDACTED: Final = "[redacted]"
_CUT: Final = "…"
_MAX_DEPTH: Final = 16
_MAX_INT: Final = 2**64

_SECRET_NAME: Final = re.compile(
    r"pass(?:word|wd|phrase|code)|secret|token|api[-_ ]?key|authori[sz]ation|cookie|credential"
    r"|private[-_ ]?key|access[-_ ]?key|session[-_ ]?id|^(?:pwd|pin|otp|auth)$",
    re.IGNORECASE,
)
_SECRET_SHAPE: Final = re.compile(
    r"(?i:\b(?:bearer|basic)\s+[\w.~+/=-]{6,})"  # RFC 6750, RFC 7617
    r"|\beyJ[\w-]{8,}(?:\.[\w-]*)*"  # a JWT, or as much of it as is there
    r"|\blinkspan_[\w-]{20,}"  # our own API keys
    r"|-----BEGIN [A-Z ]*PRIVATE KEY.*",
    re.DOTALL,
)


def excerpt(value: object, max_chars: int = CONTENT_CHARS) -> str:
    """Return JSON of a value, without what looks like a credential, cut to a length.

    Args:
        value: What JSON can hold; anything else is named by its type.
        max_chars: The longest text, in characters.
    """
    text = json.dumps(_Copier(max_chars).copy(value, 0), ensure_ascii=False)
    return text if len(text) <= max_chars else text[: max_chars - 1] + _CUT


class _Copier:
    """Copies as much of a value as fits."""

    def __init__(self, max_chars: int) -> None:
        self._left = max_chars

    def copy(self, value: object, depth: int) -> Any:
        if self._left <= 0 or depth > _MAX_DEPTH:
            return _CUT
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return self._object(cast("dict[object, object]", value), depth)
        if isinstance(value, list | tuple):
            return self._array(cast("list[object]", value), depth)
        if value is None or isinstance(value, bool | float) or _is_short(value):
            self._left -= 8
            return value
        return f"<{type(value).__name__}>"

    def _text(self, value: str) -> str:
        shown = value[: self._left]
        self._left -= len(shown) + 2
        shown = _SECRET_SHAPE.sub(REDACTED, shown)
        return shown if len(value) <= len(shown) or self._left > 0 else shown + _CUT

    def _object(self, value: dict[object, object], depth: int) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for key, each in value.items():
            if self._left <= 0:
                copied[_CUT] = _CUT
                break
            name = self._text(key if isinstance(key, str) else f"<{type(key).__name__}>")
            copied[name] = REDACTED if _SECRET_NAME.search(name) else self.copy(each, depth + 1)
        return copied

    def _array(self, value: list[object], depth: int) -> list[Any]:
        copied: list[Any] = []
        for each in value:
            if self._left <= 0:
                copied.append(_CUT)
                break
            copied.append(self.copy(each, depth + 1))
        return copied


def _is_short(value: object) -> bool:
    """Tell whether something is an integer of few enough digits to be written."""
    return isinstance(value, int) and -_MAX_INT <= value <= _MAX_INT
