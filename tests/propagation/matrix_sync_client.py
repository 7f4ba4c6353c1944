"""Calls on the matrix server of threads, in each way that a sync client can go about one."""

import gc
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from opentelemetry.trace import TracerProvider
from tests.propagation.matrix_client import (
    DEADLINE_SECONDS,
    REQUESTS,
    Entry,
    Form,
    Seen,
    client_options,
    same,
)

from linkspan_propagation import (
    TRACERESPONSE,
    ClientOptions,
    sync_client_interceptor,
    traced_channel,
)

_WAIT_SECONDS: Final = 30.0


@dataclass(slots=True)
class Observed:
    """What there is to see of a call, on both sides; the last three differ with this library."""

    raised: str = ""
    messages: list[bytes] = field(default_factory=list[bytes])
    code: str = ""
    details: str = ""
    initial: tuple[Any, ...] = ()
    trailing: tuple[Any, ...] = ()
    cancelled: bool = False
    seen: Seen | None = None
    current: tuple[str, ...] = field(default=(), compare=False)
    control: str = field(default="", compare=False)
    answer: str = field(default="", compare=False)


def open_channel(port: int, form: Form, provider: TracerProvider | None = None) -> grpc.Channel:
    """Open a channel of one of the forms; ``provider`` is for those that record."""
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    options = client_options(provider) if form.startswith("recording") else ClientOptions()
    if form.endswith("interceptors"):
        return grpc.intercept_channel(channel, sync_client_interceptor(**options))
    return channel if form == "bare" else traced_channel(channel, **options)


@dataclass(frozen=True, slots=True)
class Client:
    """One call on one channel; attributes as of the asyncio one."""

    channel: grpc.Channel
    control_channel: grpc.Channel
    kind: str
    method: str
    call_id: str
    observed: Observed

    def calls(self, channel: grpc.Channel | None = None) -> Any:
        """Return what makes calls of this method."""
        words = {"u": "unary", "s": "stream"}
        make: Callable[..., Any] = getattr(
            channel or self.channel, f"{words[self.kind[0]]}_{words[self.kind[1]]}"
        )
        return make(self.method)

    def arguments(
        self, *, metadata: tuple[Entry, ...] = (), timeout: float | None = None
    ) -> dict[str, Any]:
        return {"metadata": (("call-id", self.call_id), *metadata), "timeout": timeout}

    def request(self) -> Any:
        return REQUESTS[0] if self.kind[0] == "u" else iter(REQUESTS)

    def start(self, **arguments: Any) -> Any:
        """Start a call that goes on: a future, or an iterator of responses."""
        calls = self.calls()
        start = calls.future if self.kind[1] == "u" else calls
        return start(self.request(), **self.arguments(**arguments))

    def take(self, call: Any) -> None:
        """Take all responses, and note the end."""
        try:
            if self.kind[1] == "u":
                self.observed.messages.append(call.result(_WAIT_SECONDS))
            else:
                self.observed.messages += list(call)
        except grpc.FutureCancelledError:
            self.observed.raised = "FutureCancelledError"
        except grpc.RpcError as error:
            self.observed.raised = _text(error)
        self.note(call)

    def note(self, call: Any) -> None:
        observed = self.observed
        observed.code = call.code().name
        observed.details = same(call.details())
        observed.initial = _entries(call.initial_metadata())
        trailing = _entries(call.trailing_metadata())
        observed.trailing = tuple(entry for entry in trailing if entry[0] != TRACERESPONSE)
        observed.answer = "".join(str(value) for key, value in trailing if key == TRACERESPONSE)
        if hasattr(call, "cancelled"):
            observed.cancelled = call.cancelled()

    def control(self, name: str) -> bytes:
        make: Callable[..., Any] = self.control_channel.unary_unary
        response: bytes = make(f"/matrix.Control/{name}")(
            self.call_id.encode(), timeout=_WAIT_SECONDS
        )
        return response

    def see(self) -> None:
        """Wait for the handler's end, and note what it did."""
        seen = json.loads(self.control("seen"))
        self.observed.seen = Seen(
            outcome=seen["outcome"],
            metadata=tuple((key, value) for key, value in seen["metadata"] if key != "call-id"),
            received=tuple(seen["received"]),
        )
        self.observed.current = tuple(seen["current"])
        self.observed.control = seen["control"]


def _text(error: grpc.RpcError) -> str:
    known: Any = error
    return f"{type(error).__name__}: {known.code().name}: {same(known.details())}"


def _entries(metadata: Any) -> tuple[Entry, ...]:
    return tuple((key, value) for key, value in metadata or ())


# --- the ways in which a client goes about a call -----------------------------------------------


def complete(client: Client) -> None:
    """Wait for one response as a function does, or iterate."""
    if client.kind[1] == "s":
        client.take(client.start())
    else:
        try:
            response = client.calls()(client.request(), **client.arguments())
            client.observed.messages.append(response)
        except grpc.RpcError as error:
            client.observed.raised = _text(error)
            client.note(error)
    client.see()


def with_call(client: Client) -> None:
    try:
        response, call = client.calls().with_call(client.request(), **client.arguments())
        client.observed.messages.append(response)
        client.note(call)
    except grpc.RpcError as error:
        client.observed.raised = _text(error)
        client.note(error)
    client.see()


def by_place(client: Client) -> None:
    """Give every argument by its place."""
    arguments = client.arguments(timeout=_WAIT_SECONDS)
    call = client.calls()(
        client.request(), arguments["timeout"], arguments["metadata"], None, True, None
    )
    if client.kind[1] == "s":
        client.take(call)
    else:
        client.observed.messages.append(call)
    client.see()


def future(client: Client) -> None:
    client.take(client.start())
    client.see()


def refused(client: Client) -> None:
    """As ``complete``, of a call that does not get to the handler."""
    client.take(client.start())


def cancel(client: Client) -> None:
    call = client.start()
    client.control("wait_acting")
    assert call.cancel()
    client.take(call)
    client.see()


def deadline(client: Client) -> None:
    client.take(client.start(timeout=DEADLINE_SECONDS))
    client.see()


def deadline_while_waiting(client: Client) -> None:
    arguments = client.arguments(timeout=DEADLINE_SECONDS)
    try:
        client.calls()(client.request(), **arguments)
    except grpc.RpcError as error:
        client.observed.raised = _text(error)
        client.note(error)
    client.see()


def let_go(client: Client) -> None:
    """Never wait or iterate, and let go of the call: the channel stays open."""
    call = client.start()
    client.control("wait_acting")
    del call
    gc.collect()
    client.see()


def break_early(client: Client) -> None:
    """Stop iterating after the first response, and let go of the call."""
    for message in client.start():
        client.observed.messages.append(message)
        break
    gc.collect()
    client.see()


def read_slowly(client: Client) -> None:
    """Have the server wait for flow control before each further response is taken."""
    call = client.start()
    client.control("wait_acting")
    for _ in range(3):
        client.observed.messages.append(next(call)[:2])
        client.control("wait_acting")
    assert call.cancel()
    client.note(call)
    client.see()


def duplicates(client: Client) -> None:
    metadata = (("k", "1"), ("k-bin", b"\x00\xff"), ("k", "2"), ("k", "1"), ("k-bin", b""))
    client.take(client.start(metadata=metadata))
    client.see()


def fail_while_sending(client: Client) -> None:
    def broken() -> Iterator[bytes]:
        yield REQUESTS[0]
        client.control("wait_received_one")
        raise ValueError("the client's own bug")

    calls = client.calls()
    start = calls.future if client.kind[1] == "u" else calls
    client.take(start(broken(), **client.arguments()))


def complete_after_one(client: Client) -> None:
    """Send one request, and nothing more before the handler has ended."""

    def one() -> Iterator[bytes]:
        yield REQUESTS[0]
        client.control("seen")

    calls = client.calls()
    start = calls.future if client.kind[1] == "u" else calls
    client.take(start(one(), **client.arguments()))
    client.see()


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of the matrix; attributes as of the asyncio one."""

    kind: str
    way: str
    go: Callable[[Client], None]
    code: str = "OK"
    error_type: str = ""
    exceptions: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.way}-{self.go.__name__}"

    def run(self, port: int, form: Form, provider: TracerProvider | None = None) -> Observed:
        """Make the call, and return all that there was to see."""
        with (
            open_channel(port, form, provider) as channel,
            open_channel(port, form, provider) as control,
        ):
            client = Client(
                channel,
                control,
                self.kind,
                f"/matrix.Matrix/{self.kind}_{self.way}",
                secrets.token_hex(8),
                Observed(),
            )
            self.go(client)
            return client.observed


def cases() -> Iterator[Case]:
    """Yield the matrix."""
    bug = ("UNKNOWN", "ValueError", 1)
    expired = ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    refusal = ("INTERNAL", "INTERNAL")
    for kind in ("uu", "us", "su", "ss"):
        for go in (complete, by_place, duplicates):
            yield Case(kind, "ok", go)
        yield Case(kind, "metadata", complete)
        yield Case(kind, "error", complete, "NOT_FOUND")
        yield Case(kind, "int", complete, "UNKNOWN", "UNKNOWN")
        yield Case(kind, "internal", complete, "INTERNAL", "INTERNAL")
        yield Case(kind, "abort", complete, "FAILED_PRECONDITION")
        yield Case(kind, "raise", complete, *bug)
        yield Case(kind, "raise_code", complete, "UNAVAILABLE", "ValueError", 1)
        yield Case(kind, "bad_response", refused, *refusal)
        yield Case(kind, "hang", cancel, "CANCELLED")
        yield Case(kind, "hang", deadline, *expired)
        yield Case(kind, "hang", let_go, "CANCELLED")
    for kind in ("uu", "us"):
        yield Case(kind, "bad_request", refused, *refusal)
    for kind in ("uu", "su"):
        yield Case(kind, "ok", with_call)
        yield Case(kind, "ok", future)
        yield Case(kind, "abort", with_call, "FAILED_PRECONDITION")
        yield Case(kind, "abort", future, "FAILED_PRECONDITION")
        yield Case(kind, "raise", future, *bug)
        yield Case(kind, "hang", deadline_while_waiting, *expired)
    for kind in ("us", "ss"):
        yield Case(kind, "raise_at_once", complete, *bug)
        yield Case(kind, "endless", break_early, "CANCELLED")
        yield Case(kind, "endless", read_slowly, "CANCELLED")
    yield Case("us", "not_an_iterator", complete, "UNKNOWN", "TypeError", 1)
    yield Case("us", "non_blocking", complete)
    for kind in ("su", "ss"):
        # gRPC tells a method that the requests came to their end when the client cut them off, and,
        # as the race goes, has it return before it hears of the cancellation.
        yield Case(kind, "ok", fail_while_sending, "CANCELLED|OK")
        yield Case(kind, "early", complete_after_one)
