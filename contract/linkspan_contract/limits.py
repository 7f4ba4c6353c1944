"""The limits that the contract's comments promise, as numbers and predicates.

Pure: both ends import this so that neither has an opinion of its own.
"""

import re
from typing import Final

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""The largest JSON-RPC message a client may POST, in bytes of UTF-8."""

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""The largest JSON-RPC message a server may answer with, in bytes of UTF-8."""

MAX_JSON_DEPTH: Final = 64
"""How deeply arrays and objects of a message that a client sends may be nested in each other.

Few enough that whatever walks through it call by call (schemas, serializers, handlers) stays far from
Python's limit of 1000 calls, and more than any schema or document nests.
"""

MAX_GRPC_MESSAGE_BYTES: Final = MAX_ANSWER_BYTES + 1024 * 1024
"""What both ends set as gRPC's own limit, in bytes: the largest answer and its wrapping."""

MAX_PRINCIPAL_FIELD_BYTES: Final = 2048
"""The largest value of each field of a `Principal`, in bytes of UTF-8."""

MAX_HEADERS: Final = 100
"""The most headers that a `Post` may carry."""

MAX_HEADER_NAME_BYTES: Final = 256
"""The longest name of a `Header`, in bytes."""

MAX_HEADER_VALUE_BYTES: Final = 8192
"""The longest value of a `Header`, in bytes."""

MAX_REQUEST_KEY_CHARS: Final = 64
"""The longest key of an `Attempt`, in characters."""

MAX_EVENT_ID_CHARS: Final = 64
"""The longest event id, in characters."""

MAX_NODE_ID_BYTES: Final = 512
"""The longest id of a session server, in bytes of UTF-8."""

DEFAULT_PAGE_SIZE: Final = 100
"""How many sessions a page of `ListSessions` holds when the caller does not say."""

MAX_PAGE_SIZE: Final = 1000
"""How many sessions a page of `ListSessions` holds at most."""

# MCP 2025-11-25, basic/transports, "Session Management": visible ASCII only. The length is ours.
_SESSION_ID = re.compile(r"[\x21-\x7E]{1,128}")

_MAX_UTF8_BYTES: Final = 4
"""How many bytes a character takes at most."""


def is_session_id(value: str) -> bool:
    """Tell whether `value` is 1 to 128 characters of visible ASCII.

    Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management
    """
    return _SESSION_ID.fullmatch(value) is not None


def is_longer(value: str, max_bytes: int) -> bool:
    """Tell whether a text takes more than so many bytes of UTF-8, which only long ones are put in."""
    return len(value) * _MAX_UTF8_BYTES > max_bytes and len(value.encode()) > max_bytes


def is_request_key(value: str) -> bool:
    """Tell whether `value` is empty or 1 to 64 characters of visible ASCII."""
    return not value or (len(value) <= MAX_REQUEST_KEY_CHARS and is_session_id(value))
