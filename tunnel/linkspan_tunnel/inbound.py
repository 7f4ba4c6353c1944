"""What comes in of one call: pieces in, messages out, and how much the peer may send.

Pure: it says what is to be granted, somebody else sends it. Above lie `assembly`, `client_call` and
`server_call`. Invariants: what is held of a call is never more than its window, but for one message
that somebody waits for and that `Assembly` has room for; a peer that keeps to what it was granted
never has to stop for ever while somebody reads.

| what somebody waits for | what the peer may send beyond the window |
|---|---|
| nothing | nothing |
| a message of which a piece has come | the rest of it, once `Assembly` has room |
| a message of which nothing has come | nothing: the window is open |

Whatever is read is granted anew, once it comes to half of the window.
"""

from collections import deque
from typing import Final

from linkspan_tunnel.errors import CallFailureError, Fault

MESSAGE_BYTES: Final = 64
"""What a message takes of the window beside its size, so that empty ones are not for free."""


class Inbound:
    """The messages of one call and one direction, as they come in."""

    __slots__ = (
        "_allowed",
        "_due",
        "_extra",
        "_left",
        "_limit",
        "_parts",
        "_window",
        "asked",
        "closed",
        "messages",
        "reserved",
        "single",
    )

    def __init__(self, window_bytes: int, limit_bytes: int, *, single: bool) -> None:
        """Begin.

        Args:
            window_bytes: How much the peer may send at first.
            limit_bytes: How large a message may be.
            single: Whether there is to be one message, which somebody waits for all the time.
        """
        self.messages: deque[bytes] = deque()
        """What has come in full."""
        self.closed = False
        """Whether nothing more comes."""
        self.asked = False
        """Whether room was asked for, for a message that goes beyond the window."""
        self.single = single
        self._window = window_bytes
        self._allowed = window_bytes
        self._limit = limit_bytes
        self._due = 0
        self._extra = 0
        self._left = 0
        self._parts: list[bytes] | None = None

    def piece(self, data: bytes, left: int) -> None:
        """Take in a message, or a piece of one.

        Args:
            data: The piece.
            left: How much of the message is to come.

        Raises:
            CallFailureError: The peer may not send this.
        """
        parts = self._parts
        cost = len(data)
        if parts is None:
            self._check_new(cost + left)
            cost += MESSAGE_BYTES
        elif cost + left != self._left:
            raise CallFailureError(Fault.WRONG_PIECE)
        if cost > self._allowed:
            raise CallFailureError(Fault.BEYOND_WINDOW)
        self._allowed -= cost
        if parts is None and not left:
            self.messages.append(data)
            return
        if not data:
            raise CallFailureError(Fault.EMPTY_PIECE)
        if parts is None:
            parts = self._parts = []
        parts.append(data)
        self._left = left
        if not left:
            self.messages.append(b"".join(parts))
            self._parts = None

    def _check_new(self, size_bytes: int) -> None:
        """Raise CallFailureError if no message of this size may come."""
        if self.closed:
            raise CallFailureError(Fault.AFTER_END)
        if size_bytes > self._limit:
            words = f"{Fault.LARGE_MESSAGE.words} ({size_bytes} vs. {self._limit})"
            raise CallFailureError(Fault.LARGE_MESSAGE, words)
        if self.single and self.messages:
            raise CallFailureError(Fault.SECOND_MESSAGE)

    def close(self) -> None:
        """Note that nothing more comes.

        Raises:
            CallFailureError: A message is not complete, or there is none where one is expected.
        """
        if self._parts is not None:
            raise CallFailureError(Fault.CUT_MESSAGE)
        if self.single and not self.messages and not self.closed:
            raise CallFailureError(Fault.NO_MESSAGE)
        self.closed = True

    def close_behind(self) -> None:
        """Note that the message that was taken was to be the only one.

        Raises:
            CallFailureError: It is not.
        """
        if self.messages or self._parts is not None:
            raise CallFailureError(Fault.SECOND_MESSAGE)
        self.closed = True

    def wanted_bytes(self) -> int:
        """Return how much is to be reserved for the next message, which somebody waits for."""
        if self._parts is None or self._extra or self.messages:
            return 0
        return max(0, self._left - self._allowed)

    def reserve(self) -> int:
        """Allow for the rest of the next message; return how much to grant for it."""
        self._extra = self.wanted_bytes()
        self._allowed += self._extra
        return self._extra

    def pop(self) -> bytes:
        """Return the next message; there must be one."""
        data = self.messages.popleft()
        self._due += len(data) + MESSAGE_BYTES - self._extra
        self._extra = 0
        return data

    def due_bytes(self) -> int:
        """Return how much is to be granted now, and count it as granted; 0 for nothing yet."""
        due = self._due
        if due * 2 < self._window or self.closed:
            return 0
        self._due = 0
        self._allowed += due
        return due

    def drop(self) -> None:
        """Let go of all that is here: nobody will read it."""
        self.messages.clear()
        self._parts = None
