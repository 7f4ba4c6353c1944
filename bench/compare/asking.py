"""What clients ask, and whether what comes back is right: every answer, to its last byte.

A `Script` is what one client does over and over. Each request has an id of `ID_DIGITS` digits that no
other has, so requests of a kind differ in these digits only, and so do their answers: the first
answer is read as JSON and judged, all others must be the same but for the digits. An event stream
with event ids is read event by event. Pure but for what a script remembers.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

from bench.compare.framing import events, session_in
from bench.compare.lines import Answer

VERSION: Final = "2025-11-25"

ID_DIGITS: Final = 9
_FIRST_ID: Final = 10 ** (ID_DIGITS - 1)

_MARK: Final = "#id#"
_OK: Final = 200
_ACCEPTED: Final = 202

KINDS: Final = {"JSON": b"application/json", "SSE": b"text/event-stream"}
"""The two kinds of answer, and their media types."""

_ACCEPT: Final = {
    "JSON": "application/json, text/event-stream",
    # Linkspan answers with what is named first; the others do what they were set up for.
    "SSE": "text/event-stream, application/json",
}

_INITIALIZE: Final = {
    "protocolVersion": VERSION,
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}

Judge = Callable[[Any, str], bool]
"""Tells whether a result is right, given the digits of its request."""


class WrongAnswerError(Exception):
    """An answer is not what it must be."""

    def __init__(self, asked: str, answer: Answer) -> None:
        super().__init__(f"{asked}: {answer.status} {answer.kind!r} {answer.body[:500]!r}")


class Script(Protocol):
    """What a client does over and over."""

    def begin(self) -> bytes:
        """Return the first request of the next round."""
        ...

    def go_on(self, answer: Answer) -> bytes | None:
        """Check an answer, and return the next request of the round; None if it is over.

        Raises:
            WrongAnswerError: The answer is wrong.
        """
        ...


class Wording:
    """What requests of one kind look like, and what their answers must.

    One is shared by all clients of a server: they learn from the same first answer.
    """

    def __init__(self, method: str, params: Any, judge: Judge, *, kind: str) -> None:
        """Describe requests.

        Args:
            method: The method.
            params: Its params; `#id#` in a string of them stands for the digits.
            judge: Tells of the first answer whether it is right.
            kind: JSON or SSE, which all answers must be.
        """
        self.method = method
        self.kind = kind
        message = {"jsonrpc": "2.0", "id": _MARK, "method": method, "params": params}
        text = json.dumps(message).replace(f'"{_MARK}"', _MARK, 1)
        self._request = text.encode().split(_MARK.encode())
        self._judge = judge
        self._body: list[bytes] = []
        self._message: list[bytes] = []

    def request(self, digits: bytes) -> bytes:
        """Return a message."""
        return digits.join(self._request)

    def check(self, answer: Answer, digits: bytes) -> None:
        """Check an answer.

        Raises:
            WrongAnswerError: It is wrong.
        """
        if answer.status != _OK or answer.kind != KINDS[self.kind]:
            raise WrongAnswerError(self.method, answer)
        if self._body and digits.join(self._body) == answer.body:
            return
        message = self._only_message(answer)
        if self._message and digits.join(self._message) == message:
            return
        self._read(answer, message, digits)
        self._body, self._message = answer.body.split(digits), message.split(digits)

    def _only_message(self, answer: Answer) -> bytes:
        if self.kind == "JSON":
            return answer.body
        messages = events(answer.body)
        if len(messages) != 1:
            raise WrongAnswerError(self.method, answer)
        return messages[0]

    def _read(self, answer: Answer, message: bytes, digits: bytes) -> None:
        try:
            read = json.loads(message)
        except ValueError:
            raise WrongAnswerError(self.method, answer) from None
        if not isinstance(read, dict):
            raise WrongAnswerError(self.method, answer)
        fields = cast("dict[str, Any]", read)
        result = fields.get("result")
        right = fields.get("id") == int(digits) and isinstance(result, dict)
        if not right or not self._judge(result, digits.decode()):
            raise WrongAnswerError(self.method, answer)


def calling(tool: str, answer: str | None = None, *, kind: str, **arguments: str) -> Wording:
    """Describe calls of a tool.

    Args:
        tool: Its name.
        answer: The text that it must answer; None for the digits of the request.
        kind: JSON or SSE.
        arguments: Its arguments; `#id#` stands for the digits.
    """

    def judge(result: Any, digits: str) -> bool:
        content = result.get("content", [])
        expected = digits if answer is None else answer
        return not result.get("isError") and [each.get("text") for each in content] == [expected]

    return Wording("tools/call", {"name": tool, "arguments": arguments}, judge, kind=kind)


def echoing(kind: str) -> Wording:
    """Describe calls of `echo`, each with a text of its own."""
    return calling("echo", kind=kind, text=_MARK)


def listing(tools: int, kind: str) -> Wording:
    """Describe `tools/list` of a server that has so many."""

    def judge(result: Any, _digits: str) -> bool:
        return len({each["name"] for each in result.get("tools", [])}) == tools

    return Wording("tools/list", {}, judge, kind=kind)


def opening(kind: str) -> Wording:
    """Describe `initialize`."""

    def judge(result: Any, _digits: str) -> bool:
        return bool(result.get("protocolVersion") == VERSION and "serverInfo" in result)

    return Wording("initialize", _INITIALIZE, judge, kind=kind)


class Post:
    """The HTTP around messages, for one address and, maybe, one session."""

    def __init__(self, url: str, kind: str, session: bytes = b"") -> None:
        place = urlsplit(url)
        head = (
            f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n"
            f"Accept: {_ACCEPT[kind]}\r\nContent-Type: application/json\r\n"
        )
        self._head = head.encode()
        if session:
            version = VERSION.encode()
            self._head += b"Mcp-Session-Id: %s\r\nMcp-Protocol-Version: %s\r\n" % (session, version)

    def __call__(self, message: bytes) -> bytes:
        """Return a request with a message."""
        return b"%sContent-Length: %d\r\n\r\n%s" % (self._head, len(message), message)


def bodiless(method: str, url: str, session: bytes) -> bytes:
    """Return the GET that opens a session's listening stream, or the DELETE that ends a session."""
    place = urlsplit(url)
    return (
        f"{method} {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nAccept: {_ACCEPT['SSE']}\r\n"
        f"Mcp-Session-Id: {session.decode()}\r\nMcp-Protocol-Version: {VERSION}\r\n\r\n"
    ).encode()


class Repeated:
    """One request over and over, in one session."""

    def __init__(self, post: Post, wording: Wording, ids: Iterator[int]) -> None:
        self._post = post
        self._wording = wording
        self._ids = ids
        self._digits = b""

    def begin(self) -> bytes:
        """See `Script`."""
        self._digits = b"%d" % next(self._ids)
        return self._post(self._wording.request(self._digits))

    def go_on(self, answer: Answer) -> bytes | None:
        """See `Script`."""
        self._wording.check(answer, self._digits)
        return None


class Opening:
    """New sessions, one after the other."""

    def __init__(self, url: str, wording: Wording, ids: Iterator[int], *, whole: bool) -> None:
        """Describe what is done.

        Args:
            url: The address.
            wording: What `initialize` looks like.
            ids: Where ids come from.
            whole: Whether the handshake is brought to its end, or `initialize` is all.
        """
        self.session = b""
        """The session that was opened last."""
        self._url = url
        self._post = Post(url, wording.kind)
        self._wording = wording
        self._ids = ids
        self._whole = whole
        self._digits = b""

    def begin(self) -> bytes:
        """See `Script`."""
        self._digits = b"%d" % next(self._ids)
        return self._post(self._wording.request(self._digits))

    def go_on(self, answer: Answer) -> bytes | None:
        """See `Script`."""
        if not self._digits:
            if answer.status != _ACCEPTED or answer.body:
                raise WrongAnswerError("notifications/initialized", answer)
            return None
        self._wording.check(answer, self._digits)
        self._digits = b""
        self.session = session_in(answer.head)
        if not self.session:
            raise WrongAnswerError("initialize, without a session id", answer)
        if not self._whole:
            return None
        return Post(self._url, self._wording.kind, self.session)(_INITIALIZED)


_INITIALIZED: Final = b'{"jsonrpc": "2.0", "method": "notifications/initialized"}'


def new_ids() -> Iterator[int]:
    """Return ids that no other request of this client has."""
    return itertools.count(_FIRST_ID)
