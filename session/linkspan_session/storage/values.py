"""Keys and values: which there may be, how large, and how a value is written down.

Pure. A value on record is one byte that says what follows, and the payload. Another way of writing
takes another byte, so that what a newer version wrote is never misread.
"""

import json
import math
from typing import Any, Final, cast

from linkspan_session.errors import RecordTooNewError
from linkspan_session.storage.errors import StorageLimitError

MAX_KEY_BYTES: Final = 512
"""The longest key, in bytes of UTF-8."""

MAX_VALUE_BYTES: Final = 1024 * 1024
"""The largest value, in bytes: of itself, or of its JSON text in UTF-8 without spaces."""

MAX_NESTING: Final = 100
"""How many arrays and objects a JSON value may have within each other."""

DEFAULT_MAX_BYTES: Final = 4 * 1024 * 1024
"""How much one session may store, in bytes as `entry_bytes` counts them."""

_JSON: Final = b"\x01"
_BYTES: Final = b"\x02"


def check_key(key: object) -> None:
    """Refuse what cannot be a key.

    Raises:
        TypeError: It is not a string.
        ValueError: It is not Unicode text.
        StorageLimitError: It is empty or too long.
    """
    if not isinstance(key, str):
        raise TypeError(f"a key is a string, not {type(key).__name__}")
    if not 1 <= len(_utf8(key, "a key")) <= MAX_KEY_BYTES:
        raise StorageLimitError(f"a key has 1 to {MAX_KEY_BYTES} bytes")


def encode(value: object) -> bytes:
    """Write a value down.

    Args:
        value: Bytes, or JSON: None, a bool, number, string, list, tuple, or dict with strings as
            keys. A tuple will be read as a list, a bytearray or memoryview as bytes.

    Raises:
        TypeError: It is, or holds, something else.
        ValueError: It holds a number or a string that JSON does not have, or is nested too deep.
        StorageLimitError: It is too large.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        tag, payload = _BYTES, bytes(cast("bytes", value))
    else:
        _check_json(value, MAX_NESTING)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        tag, payload = _JSON, _utf8(text, "a string")
    if len(payload) > MAX_VALUE_BYTES:
        raise StorageLimitError(f"a value has at most {MAX_VALUE_BYTES} bytes, not {len(payload)}")
    return tag + payload


def decode(encoded: bytes) -> Any:
    """Read a value, which is new each time.

    Raises:
        RecordTooNewError: It is written in a way that this version does not know.
    """
    tag, payload = encoded[:1], encoded[1:]
    if tag == _JSON:
        return json.loads(payload)
    if tag == _BYTES:
        return payload
    raise RecordTooNewError


def entry_bytes(key: str, encoded: bytes | None) -> int:
    """Say what an entry takes of what a session may store; None takes nothing."""
    return 0 if encoded is None else len(key.encode()) + len(encoded)


def _check_json(value: object, levels: int) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"JSON has no {value}")
    if value is None or isinstance(value, (str, int, float)):
        return
    if not isinstance(value, (list, tuple, dict)):
        raise TypeError(f"a value is JSON or bytes; {type(value).__name__} is neither")
    if levels == 0:
        raise ValueError(f"a value is nested at most {MAX_NESTING} levels deep")
    if isinstance(value, dict):
        members = cast("dict[object, object]", value)
        for key in members:
            if not isinstance(key, str):
                raise TypeError(f"a key within JSON is a string, not {type(key).__name__}")
        elements = list(members.values())
    else:
        elements = list(cast("list[object]", value))
    for element in elements:
        _check_json(element, levels - 1)


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # a half of a surrogate pair
        raise ValueError(f"{what} must be Unicode text") from None
