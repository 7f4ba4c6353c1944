"""Bytes of HTTP/1.1 answers and of event streams, read as fast as Python can. Pure.

It reads what servers send that keep to the standards, and refuses the rest. Sources: RFC 9112,
sections 4 to 7; WHATWG HTML, section 9.2 (server-sent events).
"""

import re
from dataclasses import dataclass
from typing import Final

HEAD_END: Final = b"\r\n\r\n"

_STATUS_AT: Final = slice(9, 12)
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n")
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n")
_TYPE: Final = re.compile(rb"\r\ncontent-type:[ \t]*([^;\r]*)")
_SESSION: Final = re.compile(rb"(?i)\r\nmcp-session-id:[ \t]*([!-~]+)[ \t]*\r\n")
_BODILESS: Final = frozenset({204, 304})


class FramingError(Exception):
    """What came is not an HTTP/1.1 answer that says where it ends."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of an answer says.

    Attributes:
        status: The status code.
        kind: The media type, without parameters; empty if it says none.
        length: How many bytes of body follow; None if the body comes in chunks.
    """

    status: int
    kind: bytes
    length: int | None


def read_head(head: bytes) -> Head:
    """Read a head, with its last line's end and the empty line after it.

    Raises:
        FramingError: It is none, or does not say where its body ends.
    """
    if not head.startswith(b"HTTP/1.1 "):
        raise FramingError(f"no HTTP/1.1 answer: {head[:100]!r}")
    lower = head.lower()
    status = int(head[_STATUS_AT])
    kind = _TYPE.search(lower)
    media_type = kind[1].strip() if kind else b""
    if status in _BODILESS:
        return Head(status, media_type, 0)
    if _CHUNKED.search(lower):
        return Head(status, media_type, None)
    length = _LENGTH.search(lower)
    if length is None:
        raise FramingError(f"an answer that does not say where it ends: {head!r}")
    return Head(status, media_type, int(length[1]))


def session_in(head: bytes) -> bytes:
    """Return the session id that a head names; empty if it names none."""
    found = _SESSION.search(head)
    return found[1] if found else b""


def unchunk(data: bytes, start: int) -> bytes | None:
    """Return the body that comes in chunks from `start` on; None if its end is not there yet.

    Raises:
        FramingError: It is not chunked, or something follows the body.
    """
    pieces: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", start)
        if line_end < 0:
            return None
        try:
            size = int(data[start:line_end].partition(b";")[0], 16)
        except ValueError:
            raise FramingError(f"no size of a chunk: {data[start:line_end][:100]!r}") from None
        start = line_end + 2
        if size == 0:
            return _after_last(data, line_end, pieces)
        if len(data) < start + size + 2:
            return None
        pieces.append(data[start : start + size])
        start += size + 2


def _after_last(data: bytes, line_end: int, pieces: list[bytes]) -> bytes | None:
    end = data.find(HEAD_END, line_end)  # with trailers or without
    if end < 0:
        return None
    if end + len(HEAD_END) != len(data):
        raise FramingError(f"bytes after the answer: {data[end + 4 :][:100]!r}")
    return b"".join(pieces)


class Events:
    """An event stream, piece by piece."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next piece; returns the data of each event that is complete and has any.

        A lone CR ends no line here: nobody sends that, and it may be half of CR LF.
        """
        lines = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = lines.pop()
        found: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                data = b"\n".join(self._data)
                self._data.clear()
                if data:
                    found.append(data)
        return found


def events(body: bytes) -> list[bytes]:
    """Return the data of each event of a complete stream that has any."""
    return Events().feed(body)
