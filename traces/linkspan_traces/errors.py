"""What can go wrong between a request and the store.

TracesError
├── BadRequestError       the sender's fault: what came is not what the specification says
│   └── TooLargeError     it is more than is taken at once
├── BusyError             too much is waiting already: the same again later may do
├── StoreError            SQLite failed: the same again later may do
├── UnknownTraceError     there is no such trace
└── AmbiguousTraceError   several traces begin so
"""

from collections.abc import Sequence


class TracesError(Exception):
    """The root of all that follows."""


class BadRequestError(TracesError):
    """The sender's fault; the message says what is wrong, and may be shown to it."""


class TooLargeError(BadRequestError):
    """A request is larger than is taken at once, as it came or unpacked."""


class BusyError(TracesError):
    """Too much is waiting already; try again in a second."""


class StoreError(TracesError):
    """SQLite failed, as on a full disk; nothing was changed."""


class UnknownTraceError(TracesError):
    """There is no such trace.

    Attributes:
        similar: Ids of traces that begin like it, longest match first; may be empty.
    """

    def __init__(self, similar: Sequence[str]) -> None:
        super().__init__("no such trace")
        self.similar = tuple(similar)


class AmbiguousTraceError(TracesError):
    """Several traces begin so.

    Attributes:
        candidates: Some of their ids.
    """

    def __init__(self, candidates: Sequence[str]) -> None:
        super().__init__("several traces begin so")
        self.candidates = tuple(candidates)
