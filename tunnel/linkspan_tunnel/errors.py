"""What can go wrong with a tunnel and its calls.

    grpc.aio.AioRpcError
    └── NotBegunError       a call failed, and no handler has seen it: it is safe to send it again

    TunnelError             within this library only
    ├── TunnelBrokenError   the peer broke a rule that concerns the whole tunnel
    └── CallFailureError    the peer broke a rule, or a limit, that concerns one call

A call that may have run when its tunnel died fails with a plain AioRpcError of code UNAVAILABLE.
"""

from enum import Enum

import grpc


class NotBegunError(grpc.aio.AioRpcError):
    """A call failed, and no handler has seen it or will: it can be sent again without harm.

    The codes: UNAVAILABLE if there is no tunnel, it broke before the call was handed to gRPC, or the
    server is draining; RESOURCE_EXHAUSTED if too many calls run, or the metadata or the message are
    too large to be sent; UNIMPLEMENTED if the server offers no tunnels.
    """


class Fault(Enum):
    """A rule that one call can break, with the code and the words that it then ends with."""

    BAD_METADATA = (grpc.StatusCode.INTERNAL, "metadata have characters that cannot travel")
    LARGE_METADATA = (grpc.StatusCode.RESOURCE_EXHAUSTED, "received metadata are too large")
    LARGE_MESSAGE = (grpc.StatusCode.RESOURCE_EXHAUSTED, "received message larger than max")
    EMPTY_PIECE = (grpc.StatusCode.INTERNAL, "a piece of a message was empty")
    WRONG_PIECE = (grpc.StatusCode.INTERNAL, "a piece of a message does not fit the one before")
    CUT_MESSAGE = (grpc.StatusCode.INTERNAL, "the messages ended within one")
    AFTER_END = (grpc.StatusCode.INTERNAL, "a message came after the last")
    SECOND_MESSAGE = (grpc.StatusCode.INTERNAL, "a second message came where one is expected")
    NO_MESSAGE = (grpc.StatusCode.INTERNAL, "no message came where one is expected")
    BEYOND_WINDOW = (grpc.StatusCode.INTERNAL, "more was sent than the window allows")
    LARGE_GRANT = (grpc.StatusCode.INTERNAL, "more was granted than a window can hold")
    LATE_HEADERS = (grpc.StatusCode.INTERNAL, "initial metadata came twice or too late")

    @property
    def code(self) -> grpc.StatusCode:
        """What the call ends with."""
        return self.value[0]

    @property
    def words(self) -> str:
        """The status's message."""
        return self.value[1]


class Breach(Enum):
    """A rule that concerns the whole tunnel, in the words that it then ends with."""

    NOT_A_MESSAGE = "what came is no message of the tunnel"
    NO_SETTINGS = "the first message has no settings"
    SECOND_SETTINGS = "settings came twice"
    BAD_SETTINGS = "a setting is out of its range"
    RESERVED_ID = "a frame has the reserved call id 0"
    USED_ID = "a call began with an id that is not higher than all before"
    UNKNOWN_ID = "a frame is of a call that has not begun"


class TunnelError(Exception):
    """What this library tells itself; never leaves it."""


class TunnelBrokenError(TunnelError):
    """The peer broke a rule that concerns the whole tunnel.

    Attributes:
        breach: Which.
    """

    def __init__(self, breach: Breach) -> None:
        super().__init__(breach.value)
        self.breach = breach


class CallFailureError(TunnelError):
    """The peer broke a rule, or a limit, that concerns one call.

    Attributes:
        fault: Which.
        detail: The status's message.
    """

    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(detail or fault.words)
        self.fault = fault
        self.detail = detail or fault.words
