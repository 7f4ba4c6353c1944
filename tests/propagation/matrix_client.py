"""Calls on the matrix server, in each way that a client can go about one, and what comes of it."""

import asyncio
import gc
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import grpc
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TracerProvider

from linkspan_propagation import (
    TRACERESPONSE,
    ClientOptions,
    client_interceptors,
    contrib_client_interceptors,
    traced_channel,
)

Form: TypeAlias = Literal[
    "bare",
    "interceptors",
    "traced_channel",
    "recording_interceptors",
    "recording_channel",
    "contrib",
]
Entry: TypeAlias = tuple[str, str | bytes]

REQUESTS: Final = (b"q0", b"q1")
DEADLINE_SECONDS: Final = 0.5
_WAIT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the handler did, as it tells itself."""

    outcome: str
    metadata: tuple[tuple[str, str], ...]
    received: tuple[str, ...]


@dataclass(slots=True)
class Observed:
    """What there is to see of a call, on both sides.

    The last three are the ones that are not to be the same with and without this library: what the
    handler would have sent on, what a handler would that is not recorded, and ``traceresponse``.
    """

    raised: str = ""
    messages: list[bytes] = field(default_factory=list[bytes])
    code: str = ""
    details: str = ""
    initial: tuple[Any, ...] = ()
    trailing: tuple[Any, ...] = ()
    done: bool = False
    cancelled: bool = False
    seen: Seen | None = None
    fields: dict[str, str] = field(default_factory=dict[str, str], compare=False)
    control: str = field(default="", compare=False)
    answer: str = field(default="", compare=False)

    @property
    def current(self) -> str:
        """The traceparent that the handler would have sent on."""
        return self.fields.get("traceparent", "")


@contextmanager
def remote_parent(*, sampled: bool = True) -> Generator[SpanContext]:
    """Make a span current that no one exports: the client's, with random ids."""
    span_context = SpanContext(
        secrets.randbits(128) | 1,
        secrets.randbits(64) | 1,
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT),
    )
    token = otel_context.attach(
        trace.set_span_in_context(NonRecordingSpan(span_context), Context())
    )
    try:
        yield span_context
    finally:
        otel_context.detach(token)


def is_recorded(full_method: str) -> bool:
    """Leave out the methods that only tests call."""
    return not full_method.startswith("/matrix.Control/")


def client_options(provider: TracerProvider | None) -> ClientOptions:
    """Return what records all that there is to record."""
    return ClientOptions(
        spans=True,
        metrics=True,
        record=is_recorded,
        tracer_provider=provider,
        request_metadata=["k"],
        response_metadata=["initial", "trailer"],
    )


def open_channel(port: int, form: Form, provider: TracerProvider | None = None) -> grpc.aio.Channel:
    """Open a channel of one of the forms; ``provider`` is for those that record."""
    target = f"127.0.0.1:{port}"
    options = client_options(provider) if form.startswith("recording") else ClientOptions()
    if form == "contrib":
        interceptors = contrib_client_interceptors(tracer_provider=provider, record=is_recorded)
        return grpc.aio.insecure_channel(target, interceptors=interceptors)
    if form.endswith("interceptors"):
        return grpc.aio.insecure_channel(target, interceptors=client_interceptors(**options))
    channel = grpc.aio.insecure_channel(target)
    return channel if form == "bare" else traced_channel(channel, **options)


@dataclass(frozen=True, slots=True)
class Client:
    """One call on one channel.

    Attributes:
        channel: where to call.
        control_channel: where to ask what the handler did.
        kind: ``uu``, ``us``, ``su`` or ``ss``.
        method: full name.
        call_id: names the call towards the server.
        observed: filled as the call goes.
        first_message: set when the first of many responses is here.
    """

    channel: grpc.aio.Channel
    control_channel: grpc.aio.Channel
    kind: str
    method: str
    call_id: str
    observed: Observed
    first_message: asyncio.Event = field(default_factory=asyncio.Event)

    def start(
        self,
        *,
        metadata: tuple[Entry, ...] = (),
        timeout: float | None = None,
        requests: Any = None,
    ) -> Any:
        """Start the call; ``requests`` None means all of ``REQUESTS``, from an iterator."""
        words = {"u": "unary", "s": "stream"}
        make: Callable[..., Any] = getattr(
            self.channel, f"{words[self.kind[0]]}_{words[self.kind[1]]}"
        )
        request = REQUESTS[0] if self.kind[0] == "u" else requests or _requests()
        calls = make(self.method)
        return calls(request, metadata=(("call-id", self.call_id), *metadata), timeout=timeout)

    def start_writing(self, *, timeout: float | None = None) -> Any:
        """Start a call whose requests will be written."""
        make: Callable[..., Any] = getattr(
            self.channel, "stream_unary" if self.kind[1] == "u" else "stream_stream"
        )
        return make(self.method)(metadata=(("call-id", self.call_id),), timeout=timeout)

    async def consume(self, call: Any) -> None:
        """Take all responses, by awaiting or iterating."""
        if self.kind[1] == "u":
            self.observed.messages.append(await call)
        else:
            async for message in call:
                self.observed.messages.append(message)
                self.first_message.set()

    async def wait_acting(self) -> None:
        """Wait until the handler does its work, and its response from before that is here."""
        await self.control("wait_acting")
        if self.kind[1] == "s":
            await asyncio.wait_for(self.first_message.wait(), _WAIT_SECONDS)

    async def end(self, consuming: Awaitable[None], call: Any) -> None:
        """Await the end of a call, whatever it is, and note all that the call can tell then."""
        try:
            await asyncio.wait_for(consuming, _WAIT_SECONDS)
        except grpc.aio.AioRpcError as error:
            self.observed.raised = f"{error.code().name}: {same(error.details())}"
        except asyncio.CancelledError:
            self.observed.raised = "CancelledError"
        await self.note(call)

    async def note(self, call: Any) -> None:
        observed = self.observed
        observed.code = (await asyncio.wait_for(call.code(), _WAIT_SECONDS)).name
        observed.details = same(await call.details())
        observed.initial = tuple(await call.initial_metadata() or ())
        received: Any = await call.trailing_metadata()
        trailing: tuple[Entry, ...] = tuple(received or ())
        observed.trailing = tuple(entry for entry in trailing if entry[0] != TRACERESPONSE)
        observed.answer = "".join(str(entry[1]) for entry in trailing if entry[0] == TRACERESPONSE)
        observed.done = call.done()
        observed.cancelled = call.cancelled()

    async def control(self, name: str) -> bytes:
        make: Callable[..., Any] = self.control_channel.unary_unary
        calls = make(f"/matrix.Control/{name}")
        response: bytes = await calls(self.call_id.encode(), timeout=_WAIT_SECONDS)
        return response

    async def see(self) -> None:
        """Wait for the handler's end, and note what it did."""
        seen = json.loads(await self.control("seen"))
        self.observed.seen = Seen(
            outcome=seen["outcome"],
            metadata=tuple((key, value) for key, value in seen["metadata"] if key != "call-id"),
            received=tuple(seen["received"]),
        )
        self.observed.fields = seen["current"]
        self.observed.control = seen["control"].get("traceparent", "")


def same(details: str | None) -> str:
    """Return one text for the two that gRPC has for a deadline, as the race goes."""
    return (details or "").replace("Stream removed (Deadline Exceeded)", "Deadline Exceeded")


async def _requests() -> AsyncIterator[bytes]:
    for request in REQUESTS:
        yield request


# --- the ways in which a client goes about a call -----------------------------------------------


async def complete(client: Client) -> None:
    call = client.start()
    await client.end(client.consume(call), call)
    await client.see()


async def refused(client: Client) -> None:
    """As ``complete``, of a call that does not get to the handler."""
    call = client.start()
    await client.end(client.consume(call), call)


async def read(client: Client) -> None:
    call = client.start()

    async def read_all() -> None:
        while (message := await call.read()) is not grpc.aio.EOF:
            client.observed.messages.append(message)

    await client.end(read_all(), call)
    await client.see()


async def write(client: Client) -> None:
    call = client.start_writing()

    async def write_all() -> None:
        for request in REQUESTS:
            await call.write(request)
        await call.done_writing()
        await call.done_writing()
        await client.consume(call)

    await client.end(write_all(), call)
    await client.see()


async def write_and_read(client: Client) -> None:
    call = client.start_writing()

    async def write_all() -> None:
        for request in REQUESTS:
            await call.write(request)
        await call.done_writing()
        while (message := await call.read()) is not grpc.aio.EOF:
            client.observed.messages.append(message)

    await client.end(write_all(), call)
    await client.see()


async def write_and_deadline(client: Client) -> None:
    """Write and never say that this was all."""
    call = client.start_writing(timeout=DEADLINE_SECONDS)

    async def write_some() -> None:
        await call.write(REQUESTS[0])
        await client.consume(call)

    await client.end(write_some(), call)
    await client.see()


async def cancel(client: Client) -> None:
    call = client.start()
    consuming = asyncio.ensure_future(client.consume(call))
    await client.wait_acting()
    assert call.cancel()
    await client.end(consuming, call)
    await client.see()


async def cancel_task(client: Client) -> None:
    call = client.start()
    consuming = asyncio.ensure_future(client.consume(call))
    await client.wait_acting()
    consuming.cancel()
    await client.end(consuming, call)
    await client.see()


async def cancel_writing(client: Client) -> None:
    call = client.start_writing()
    await call.write(REQUESTS[0])
    await client.control("wait_received_one")
    assert call.cancel()
    await client.end(client.consume(call), call)
    await client.see()


async def deadline(client: Client) -> None:
    call = client.start(timeout=DEADLINE_SECONDS)
    await client.end(client.consume(call), call)
    await client.see()


async def long_deadline(client: Client) -> None:
    """A deadline that gRPC rounds up on the wire, so that the client's comes first."""
    call = client.start(timeout=1.001)
    await client.end(client.consume(call), call)
    await client.see()


async def deadline_of_a_thread(client: Client) -> None:
    call = client.start(timeout=DEADLINE_SECONDS)
    await client.end(client.consume(call), call)
    await client.control("release")
    await client.see()


async def drop(client: Client) -> None:
    """Never await or iterate, let go of the call, and close the channel."""
    call = client.start()
    await client.control("wait_acting")
    del call
    gc.collect()
    await client.channel.close()
    await client.see()


async def break_early(client: Client) -> None:
    """Stop iterating after the first response, and close the channel."""

    async def first() -> None:
        async for message in client.start():
            client.observed.messages.append(message)
            break

    await first()
    gc.collect()
    await client.channel.close()
    await client.see()


async def read_slowly(client: Client) -> None:
    """Have the server wait for flow control before each further response is taken."""
    call = client.start()
    await client.control("wait_acting")
    for _ in range(3):
        message = await call.read()
        client.observed.messages.append(message[:2])
        await client.control("wait_acting")
    assert call.cancel()
    await client.note(call)
    await client.see()


async def duplicates(client: Client) -> None:
    call = client.start(
        metadata=(("k", "1"), ("k-bin", b"\x00\xff"), ("k", "2"), ("k", "1"), ("k-bin", b""))
    )
    await client.end(client.consume(call), call)
    await client.see()


async def complete_after_one(client: Client) -> None:
    """Send one request, and nothing more before the handler has ended.

    Whether a client that still sends gets the handler's status is a race that gRPC leaves open.
    """

    async def one() -> AsyncIterator[bytes]:
        yield REQUESTS[0]
        await client.control("seen")

    call = client.start(requests=one())
    await client.end(client.consume(call), call)
    await client.see()


async def fail_while_sending(client: Client) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield REQUESTS[0]
        await client.control("wait_received_one")
        raise ValueError("the client's own bug")

    call = client.start(requests=broken())
    await client.end(client.consume(call), call)
    await client.see()


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of the matrix: a kind of call, what the server does, and what the client does.

    Attributes:
        kind: of the call.
        way: what the server does.
        go: what the client does.
        code: the status that the server's span is to name; two with a bar between are either.
        error_type: what the span is to name as its error, an empty string for no error.
        exceptions: how many exceptions the span is to have as events.
    """

    kind: str
    way: str
    go: Callable[[Client], Awaitable[None]]
    code: str = "OK"
    error_type: str = ""
    exceptions: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.way}-{self.go.__name__}"

    async def run(self, port: int, form: Form, provider: TracerProvider | None = None) -> Observed:
        """Make the call, and return all that there was to see."""
        async with (
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
            await self.go(client)
            return client.observed


def cases() -> Iterator[Case]:
    """Yield the matrix."""
    bug = ("UNKNOWN", "ValueError", 1)
    expired = ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    for kind in ("uu", "us", "su", "ss"):
        yield Case(kind, "ok", complete)
        yield Case(kind, "ok", duplicates)
        yield Case(kind, "metadata", complete)
        yield Case(kind, "error", complete, "NOT_FOUND")
        yield Case(kind, "int", complete, "NOT_FOUND")
        yield Case(kind, "internal", complete, "INTERNAL", "INTERNAL")
        yield Case(kind, "abort", complete, "FAILED_PRECONDITION")
        yield Case(kind, "abort_plain", complete, "NOT_FOUND")
        yield Case(kind, "raise", complete, *bug)
        yield Case(kind, "raise_code", complete, "UNAVAILABLE", "ValueError", 1)
        yield Case(kind, "bad_response", complete if kind[1] == "u" else refused, *bug)
        yield Case(kind, "bad_request", complete_after_one if kind[0] == "s" else refused, *bug)
        yield Case(kind, "hang", cancel, "CANCELLED")
        yield Case(kind, "hang", cancel_task, "CANCELLED")
        yield Case(kind, "hang", deadline, *expired)
        yield Case(kind, "hang", drop, "CANCELLED")
        yield Case(kind, "stubborn", cancel, "CANCELLED")
        yield Case(kind, "sync_ok", complete)
        yield Case(kind, "sync_error", complete, "NOT_FOUND")
        yield Case(kind, "sync_raise", complete, *bug)
        if kind[1] == "u":
            # Bare gRPC blocks a thread for ever, now and then, where a sync method of many
            # responses aborts or is cancelled.
            yield Case(kind, "sync_abort", complete, "FAILED_PRECONDITION")
            yield Case(kind, "sync_hang", deadline_of_a_thread, *expired)
    yield Case("uu", "hang", long_deadline, *expired)
    for kind in ("us", "ss"):
        yield Case(kind, "ok", read)
        yield Case(kind, "abort", read, "FAILED_PRECONDITION")
        yield Case(kind, "endless", break_early, "CANCELLED")
        yield Case(kind, "endless", read_slowly, "CANCELLED")
        yield Case(kind, "read_write", complete)
        yield Case(kind, "read_write", read)
        yield Case(kind, "error_read_write", complete, "NOT_FOUND")
        yield Case(kind, "abort_read_write", complete, "FAILED_PRECONDITION")
        yield Case(kind, "raise_read_write", complete, *bug)
    for kind in ("su", "ss"):
        yield Case(kind, "ok", write)
        yield Case(kind, "ok", write_and_deadline, *expired)
        # gRPC tells a method of one response that the requests came to their end when the client
        # cut them off, and, as the race goes, takes its response for one that was sent.
        cut = "CANCELLED|OK" if kind == "su" else "CANCELLED"
        yield Case(kind, "ok", cancel_writing, cut)
        yield Case(kind, "ok", fail_while_sending, cut)
        yield Case(kind, "read_write", write)
        yield Case(kind, "early", complete_after_one)
        yield Case(kind, "sync_early", complete_after_one)
    yield Case("ss", "ok", write_and_read)
    yield Case("ss", "read_write", write_and_read)
