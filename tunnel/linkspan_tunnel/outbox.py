"""What goes out through a tunnel: frames of all calls, gathered into few messages, none held up.

Pure: it says when there is something to write, somebody else writes it. Above lie both tunnels.
What is put in during one turn of the loop, or while a message is being written, leaves in one
message. Invariants:
- frames of one call leave in the order in which they were put in;
- a message of the tunnel holds about `BATCH_BYTES` at most;
- large messages of calls leave in pieces, one of each call in turn, behind all small frames that
  are there; yet at least one piece leaves in each message of the tunnel;
- what a call sends is never more than the peer has granted it.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from linkspan.tunnel.v1.tunnel_pb2 import ClientFrame, ServerFrame
from linkspan.tunnel.v1.tunnel_service_pb2 import OpenRequest, OpenResponse
from linkspan_tunnel.errors import CallFailureError, Fault
from linkspan_tunnel.inbound import MESSAGE_BYTES
from linkspan_tunnel.limits import MAX_WINDOW_BYTES

BATCH_BYTES: Final = 128 * 1024
"""How much one message of the tunnel holds; larger ones were measured slower."""

PIECE_BYTES: Final = 32 * 1024
"""How large a message may be that leaves in one piece."""

FRAME_BYTES: Final = 32
"""What a frame counts for beside what it carries."""

_FRAMES: Final[Mapping[type[OpenRequest | OpenResponse], type[ClientFrame | ServerFrame]]] = {
    OpenRequest: ClientFrame,
    OpenResponse: ServerFrame,
}

Batch = TypeVar("Batch", OpenRequest, OpenResponse)
Finish = Callable[[ClientFrame | ServerFrame], None]


class Outbound:
    """What one call may send, and the message of which it is sending pieces."""

    __slots__ = ("allowed", "call_id", "large", "least")

    def __init__(self, call_id: int, window_bytes: int) -> None:
        self.call_id = call_id
        self.allowed = window_bytes
        """How much the peer takes now."""
        self.least = window_bytes // 4
        """How large a piece has to be that is not the last; smaller ones are not worth a frame."""
        self.large: _Large | None = None
        """The message that is under way."""

    def grant(self, size_bytes: int) -> None:
        """Note that the peer takes more.

        Raises:
            CallFailureError: It is more than a window can hold.
        """
        if self.allowed + size_bytes > MAX_WINDOW_BYTES:
            raise CallFailureError(Fault.LARGE_GRANT)
        self.allowed += size_bytes


class _Large:
    """A message that leaves in pieces, or waits for its window."""

    __slots__ = ("after", "data", "finish", "offset", "on_left", "queued")

    def __init__(
        self, data: bytes, after: int, finish: Finish | None, on_left: Callable[[], None] | None
    ) -> None:
        self.data = memoryview(data)
        self.after = after
        self.offset = 0
        self.finish = finish
        self.on_left = on_left
        self.queued = False


class Outbox(Generic[Batch]):
    """The frames that are to leave."""

    def __init__(
        self,
        new_batch: Callable[[], Batch],
        wake: Callable[[], None],
        wake_later: Callable[[], None] | None = None,
    ) -> None:
        """Begin with nothing.

        Args:
            new_batch: Makes an empty message of the tunnel.
            wake: Called when there is something to take, after there was nothing.
            wake_later: Called instead when what there is can wait a little for company; None to
                call `wake`.
        """
        self.filling = 1
        """The number of the message that frames are put into now."""
        self.taken = 0
        """The number of the last message that was taken."""
        self._new_batch: Callable[[], Batch] = new_batch
        self._wake = wake
        self._wake_later = wake_later or wake
        self._awake = False
        self._batch: Batch = new_batch()
        self._size = 0
        self._full: deque[tuple[Batch, int]] = deque()
        self._turns: deque[Outbound] = deque()

    def room(self, size_bytes: int, *, can_wait: bool = False) -> Batch:
        """Return the message to put one frame into, which carries so many bytes.

        Args:
            size_bytes: How many.
            can_wait: Whether the frame need not leave at once, if nothing else does.
        """
        size = self._size
        if size and size + size_bytes > BATCH_BYTES:
            self._seal()
            size = 0
        self._size = size + size_bytes + FRAME_BYTES
        if not self._awake:
            if can_wait:
                self._wake_later()
            else:
                self._awake = True
                self._wake()
        return self._batch

    def joins(self, batch_number: int, size_bytes: int) -> bool:
        """Tell whether so many bytes can join a frame of a message; if so, count them.

        Args:
            batch_number: The number of the message that the frame was put into.
            size_bytes: How many bytes.
        """
        if batch_number != self.filling or self._size + size_bytes > BATCH_BYTES:
            return False
        self._size += size_bytes
        if not self._awake:
            self._awake = True
            self._wake()
        return True

    def fits(self, outbound: Outbound, size_bytes: int) -> bool:
        """Tell whether a message can leave at once in one frame; if so, count it as sent."""
        cost = size_bytes + MESSAGE_BYTES
        if cost > outbound.allowed or size_bytes > PIECE_BYTES or outbound.large is not None:
            return False
        outbound.allowed -= cost
        return True

    def send_large(
        self,
        outbound: Outbound,
        data: bytes,
        *,
        finish: Finish | None = None,
        on_left: Callable[[], None] | None = None,
    ) -> None:
        """Send a message in pieces, as the window allows; no other of the call may be under way.

        Args:
            outbound: The call.
            data: The message.
            finish: Called with the frame of the last piece, to add what ends the call's direction.
            on_left: Called once the last piece is in a message that was taken.
        """
        outbound.large = _Large(data, self.filling, finish, on_left)
        self._queue(outbound)

    def granted(self, outbound: Outbound, size_bytes: int) -> None:
        """Note that the peer takes more of a call.

        Raises:
            CallFailureError: It is more than a window can hold.
        """
        outbound.grant(size_bytes)
        if outbound.large is not None:
            self._queue(outbound)

    def drop(self, outbound: Outbound) -> None:
        """Forget the message that a call has under way."""
        large, outbound.large = outbound.large, None
        if large is not None and large.queued:
            self._turns.remove(outbound)

    def has_work(self) -> bool:
        """Tell whether there is something to take; if not, `wake` will be called."""
        self._awake = bool(self._size or self._full or self._turns)
        return self._awake

    def take(self) -> bytes:
        """Return the next message of the tunnel, in its encoding; there must be something."""
        if not self._full:
            self._seal()
        batch, size = self._full.popleft()
        self.taken += 1
        data = batch.SerializeToString()
        return self._with_pieces(data, size, type(batch)) if self._turns else data

    def _seal(self) -> None:
        self._full.append((self._batch, self._size))
        self._batch = self._new_batch()
        self._size = 0
        self.filling += 1

    def _queue(self, outbound: Outbound) -> None:
        """Give a call a turn if its window allows a piece that is worth it."""
        large = outbound.large
        if large is None or large.queued:
            return
        left = len(large.data) - large.offset
        first = MESSAGE_BYTES if large.offset == 0 else 0
        if outbound.allowed < min(left + first, max(outbound.least, first + 1)):
            return
        large.queued = True
        self._turns.append(outbound)
        if not self._awake:
            self._awake = True
            self._wake()

    def _with_pieces(self, data: bytes, size: int, kind: type[Batch]) -> bytes:
        """Return an encoded message with pieces behind its frames, as far as there is room."""
        parts: list[bytes | memoryview] = [data]
        done: list[Callable[[], None]] = []
        early: list[Outbound] = []
        while self._turns:
            outbound = self._turns.popleft()
            if outbound.large is not None and outbound.large.after > self.taken:
                early.append(outbound)  # frames that come before it leave in a later message
                continue
            # Alone, a large message leaves in larger pieces: they are fewer, and nobody waits.
            piece = max(PIECE_BYTES, (BATCH_BYTES - size) // (len(self._turns) + 1))
            size += self._add_piece(parts, outbound, piece, kind, done)
            if size >= BATCH_BYTES:
                break
        self._turns.extendleft(reversed(early))
        for on_left in done:
            on_left()
        return b"".join(parts)

    def _add_piece(
        self,
        parts: list[bytes | memoryview],
        outbound: Outbound,
        piece: int,
        kind: type[Batch],
        done: list[Callable[[], None]],
    ) -> int:
        large = outbound.large
        if large is None:
            return 0
        large.queued = False
        start = large.offset
        if start == 0:
            outbound.allowed -= MESSAGE_BYTES
        end = min(len(large.data), start + piece, start + outbound.allowed)
        outbound.allowed -= end - start
        left = len(large.data) - end
        frame = _FRAMES[kind]()
        frame.call_id = outbound.call_id
        frame.message_bytes_left = left
        large.offset = end
        if left:
            self._queue(outbound)
        else:
            outbound.large = None
            if large.finish is not None:
                large.finish(frame)
            if large.on_left is not None:
                done.append(large.on_left)
        parts += _encoded(kind.FRAMES_FIELD_NUMBER, frame, large.data[start:end])
        return end - start + FRAME_BYTES


def _encoded(
    field_number: int, frame: ClientFrame | ServerFrame, piece: memoryview
) -> list[bytes | memoryview]:
    """Return a frame with a piece of a message in it, encoded as an entry of a batch.

    Done by hand, so that a large message is copied once and not three times. Fields may come in any
    order (https://protobuf.dev/programming-guides/encoding/#order), the message behind all others.
    """
    fields = frame.SerializeToString()
    head = _length_delimited(frame.MESSAGE_FIELD_NUMBER, len(piece))
    size = len(fields) + len(head) + len(piece)
    return [_length_delimited(field_number, size), fields, head, piece]


def _length_delimited(field_number: int, size: int) -> bytes:
    """Return what comes before a field's bytes: its number and type, and how many they are."""
    encoded = bytearray((field_number << 3 | 2,))
    while size >= 1 << 7:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)
