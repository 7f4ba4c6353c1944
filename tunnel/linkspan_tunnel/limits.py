"""What a side takes, and what it may send: the settings of both.

Pure. Above lie both tunnels.
"""

from dataclasses import dataclass
from typing import Final

from linkspan.tunnel.v1.tunnel_pb2 import Settings
from linkspan_tunnel.errors import Breach, TunnelBrokenError

MAX_MESSAGE_BYTES: Final = 1 << 30
"""How large a message can be at all."""

MAX_WINDOW_BYTES: Final = (1 << 31) - 1
"""How much a sender may be allowed at once at all."""

_LEAST_CALL_WINDOW_BYTES: Final = 4096
_MOST_CALL_WINDOW_BYTES: Final = 1 << 30
_MOST_CALLS: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class TunnelLimits:
    """What a side of a tunnel keeps to.

    A side holds at most `max_calls` times `call_window_bytes`, and `assembly_bytes` (or one message,
    if that is more), of messages that nobody has taken yet.

    Attributes:
        call_window_bytes: How much of a call's messages is taken in before somebody reads them. 4096
            to 2**30.
        max_receive_message_bytes: How large a message may be that comes in; None for as large as can
            be, 2**30. gRPC's default.
        max_send_message_bytes: How large a message may be that goes out; None for as large as the
            peer takes. gRPC's default.
        max_metadata_bytes: How large metadata may be that come in, keys and values and 32 bytes for
            each entry. gRPC's default for what it always refuses.
        max_calls: How many calls may run on one tunnel at once; only a server's counts.
        assembly_bytes: How much of messages that are larger than the window is taken in at once, for
            all calls of a tunnel together.
    """

    call_window_bytes: int = 128 * 1024
    max_receive_message_bytes: int | None = 4 * 1024 * 1024
    max_send_message_bytes: int | None = None
    max_metadata_bytes: int = 16 * 1024
    max_calls: int = 4096
    assembly_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: One is out of its range.
        """
        if not _LEAST_CALL_WINDOW_BYTES <= self.call_window_bytes <= _MOST_CALL_WINDOW_BYTES:
            raise ValueError(f"call_window_bytes is {self.call_window_bytes}: 4096 to 2**30")
        for name in ("max_receive_message_bytes", "max_send_message_bytes"):
            value: int | None = getattr(self, name)
            if value is not None and not 0 < value <= MAX_MESSAGE_BYTES:
                raise ValueError(f"{name} is {value}: 1 to 2**30, or None")
        if not 0 < self.max_metadata_bytes <= MAX_WINDOW_BYTES:
            raise ValueError(f"max_metadata_bytes is {self.max_metadata_bytes}: 1 to 2**31 - 1")
        if not 0 < self.max_calls <= _MOST_CALLS:
            raise ValueError(f"max_calls is {self.max_calls}: 1 to 2**31 - 1")
        if self.assembly_bytes < 1:
            raise ValueError(f"assembly_bytes is {self.assembly_bytes}: at least 1")

    @property
    def message_limit_bytes(self) -> int:
        """How large a message may be that comes in."""
        return self.max_receive_message_bytes or MAX_MESSAGE_BYTES

    def settings(self, *, server: bool) -> Settings:
        """Return what to tell the peer."""
        return Settings(
            call_window_bytes=self.call_window_bytes,
            max_message_bytes=self.max_receive_message_bytes or 0,
            max_metadata_bytes=self.max_metadata_bytes,
            max_calls=self.max_calls if server else 0,
        )


@dataclass(frozen=True, slots=True)
class PeerLimits:
    """What may be sent to the peer.

    Attributes:
        call_window_bytes: How much of a new call's messages it takes before it grants more.
        message_bytes: How large a message may be, for its sake or for ours.
        metadata_bytes: How large metadata may be.
        calls: How many calls may run at once; 0 if it does not say.
    """

    call_window_bytes: int
    message_bytes: int
    metadata_bytes: int
    calls: int


def read_settings(settings: Settings, limits: TunnelLimits, *, server: bool) -> PeerLimits:
    """Read what the peer takes.

    Args:
        settings: What it said.
        limits: What we keep to.
        server: Whether the peer is a server.

    Raises:
        TunnelBrokenError: A value is out of its range.
    """
    if (
        not _LEAST_CALL_WINDOW_BYTES <= settings.call_window_bytes <= _MOST_CALL_WINDOW_BYTES
        or settings.max_metadata_bytes == 0
        or (server and not 0 < settings.max_calls <= _MOST_CALLS)
    ):
        raise TunnelBrokenError(Breach.BAD_SETTINGS)
    theirs = min(settings.max_message_bytes or MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES)
    return PeerLimits(
        call_window_bytes=settings.call_window_bytes,
        message_bytes=min(theirs, limits.max_send_message_bytes or MAX_MESSAGE_BYTES),
        metadata_bytes=settings.max_metadata_bytes,
        calls=settings.max_calls,
    )
