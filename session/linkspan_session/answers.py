"""What a request ends in, and where a handler speaks to its client while it runs.

Pure: the words that `kernel`, which runs handlers, and everything that carries what they say agree
on. Knows neither the MCP SDK nor gRPC.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from linkspan_contract.envelope import REQUEST_CANCELLED, REQUEST_TIMEOUT, JsonObject


class Result(NamedTuple):
    """A request that went well."""

    value: JsonObject


class Failed(NamedTuple):
    """A request that is answered with a JSON-RPC error."""

    code: int
    message: str
    data: object | None = None


Answer: TypeAlias = Result | Failed


class AskError(Exception):
    """A request to the client did not end in a result; `reason` says how it ended."""

    def __init__(self, reason: Failed) -> None:
        super().__init__(reason.message)
        self.reason = reason


HeaderPairs: TypeAlias = tuple[tuple[str, str], ...]
"""HTTP headers in order, names in lower case; a name may come more than once."""


class Closing(NamedTuple):
    """How a handler ends a stream on purpose, for its client to come back later (SEP-1699).

    Attributes:
        answer: Ends what reads the stream of its answer.
        listening: Ends what reads the session's listening stream.
    """

    answer: Callable[[], Awaitable[None]]
    listening: Callable[[], Awaitable[None]]


OnProgress: TypeAlias = Callable[[float, float | None, str | None], Awaitable[None]]


class Outlet(Protocol):
    """Where a handler's messages to the client go; one for each call, and one for each session."""

    @property
    def can_ask(self) -> bool:
        """Whether a request to the client can be delivered and its answer can come back."""
        ...

    async def tell(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification; one that cannot be delivered is dropped."""
        ...

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        *,
        timeout_seconds: float | None,
        on_progress: OnProgress | None,
    ) -> JsonObject:
        """Send a request and return the result that the client answers with.

        Args:
            method: The JSON-RPC method.
            params: Its parameters.
            timeout_seconds: How long to wait; None waits as long as the handler may run.
            on_progress: Called with progress, total and message when the client reports any.

        Raises:
            AskError: The client answered with an error, or did not answer.
        """
        ...


CANCELLED: Final = Failed(REQUEST_CANCELLED, "Request cancelled")
"""The answer to a request whose client sent `notifications/cancelled`, as the SDK has it."""

TIMED_OUT: Final = Failed(REQUEST_TIMEOUT, "Request timed out")
"""The answer to a request whose deadline passed."""

SESSION_ENDED: Final = Failed(-32000, "The session ended before the request was answered")
"""The answer to a request whose session was ended; the code is the SDKs' "connection closed"."""

LOST: Final = Failed(
    -32000, "The session server was lost before the request was answered; it may have run"
)
"""The answer to a request whose handler went with its process, or may have."""

SHUTTING_DOWN: Final = Failed(-32000, "The server shut down before the request was answered")
"""The answer to a request that did not end within the time that a drain allows."""

UNDELIVERED: Final = Failed(-32000, "The client is not listening")
"""How a request ends that there was no stream for; the SDKs' "connection closed"."""
