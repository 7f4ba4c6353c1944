"""Whatever comes over gRPC to a session server: bytes, fields, metadata, and frames of a tunnel."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from hypothesis import strategies as st
from tests.fuzz.conftest import TRIED
from tests.fuzz.exploring import explore
from tests.requirements import requirement
from tests.support.hostile import assert_no_internals, unharmed
from tests.support.peer import session_at
from tests.support.stack import Stack
from tests.tunnel.raw import OPEN, SETTINGS

from linkspan.session.v1 import session_pb2 as nouns
from linkspan.session.v1 import session_service_pb2 as service
from linkspan.tunnel.v1.tunnel_pb2 import ClientFrame, Metadatum
from linkspan.tunnel.v1.tunnel_service_pb2 import OpenRequest, OpenResponse
from linkspan_tunnel.errors import Fault

Record = Callable[[str, object], None]

PREFIX: Final = "/linkspan.session.v1.SessionService/"
TIMEOUT_SECONDS: Final = 20.0
EXPECTED: Final = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
}
"""What a caller may be told for what it sent; neither UNKNOWN nor INTERNAL, which are our defects."""

TEXTS: Final = st.one_of(
    st.text(max_size=10),
    st.sampled_from(
        ["", "x", "a" * 32, "a" * 128, "a" * 129, "\0", "\n", "A" * 3000, "127.0.0.1:1#x"]
    ),
)
PRINCIPALS: Final = st.builds(nouns.Principal, issuer=TEXTS, subject=TEXTS, resource=TEXTS)
ATTEMPTS: Final = st.builds(
    service.Attempt,
    key=TEXTS,
    begun_before=st.integers(-(1 << 31), (1 << 31) - 1),
    seen_event_id=TEXTS,
)
BODIES: Final = st.one_of(
    TEXTS,
    st.sampled_from(
        [
            '{"jsonrpc":"2.0","id":1,"method":"ping"}',
            '{"jsonrpc":"2.0","method":"notifications/initialized"}',
            '[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
            '{"jsonrpc":"2.0","id":1,"result":{}}',
            '{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{}}}',
            "[" * 10_000,
        ]
    ),
)
POSTS: Final = st.builds(
    service.Post,
    message=BODIES,
    headers=st.lists(st.builds(nouns.Header, name=TEXTS, value=TEXTS), max_size=3),
    single_answer=st.booleans(),
)
HANDLED: Final = st.one_of(
    st.builds(
        service.HandleRequestRequest,
        session_id=TEXTS,
        principal=PRINCIPALS,
        attempt=ATTEMPTS,
        unreachable_owner=TEXTS,
        post=POSTS,
    ),
    st.builds(
        service.HandleRequestRequest,
        session_id=TEXTS,
        listen=st.builds(service.Listen, last_event_id=TEXTS),
    ),
    st.builds(
        service.HandleRequestRequest, session_id=TEXTS, attempt=ATTEMPTS, end=st.builds(service.End)
    ),
)
INITS: Final = st.builds(
    service.InitRequest, session_id=TEXTS, principal=PRINCIPALS, unreachable_owner=TEXTS
)
TOKENS: Final = st.one_of(
    st.binary(max_size=20),
    st.tuples(st.integers(), TEXTS).map(lambda parts: f"{parts[0]} {parts[1]}".encode()),
).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
LISTS: Final = st.builds(
    service.ListSessionsRequest,
    page_size=st.sampled_from([0, 0, 1, 1000, (1 << 31) - 1, -1]),
    page_token=st.one_of(TEXTS, TOKENS),
)


def _mutated(data: bytes) -> st.SearchStrategy[bytes]:
    """Break bytes, or leave them."""
    places = st.integers(0, len(data))
    return st.one_of(
        st.just(data),
        places.map(lambda at: data[:at]),
        st.tuples(places, st.binary(min_size=1, max_size=3)).map(
            lambda edit: data[: edit[0]] + edit[1] + data[edit[0] + 1 :]
        ),
        st.binary(max_size=4).map(lambda more: data + more),
    )


def _calls(method: str, requests: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, bytes]]:
    written = requests.map(lambda request: request.SerializeToString()).flatmap(_mutated)
    return st.tuples(st.just(method), st.one_of(written, written, st.binary(max_size=20)))


CALLS: Final = st.one_of(
    _calls("Init", INITS),
    _calls("HandleRequest", HANDLED),
    _calls("GetSession", st.builds(service.GetSessionRequest, session_id=TEXTS)),
    _calls("ListSessions", LISTS),
    _calls("EndSession", st.builds(service.EndSessionRequest, session_id=TEXTS)),
)
METADATA: Final = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(
                ["traceparent", "tracestate", "baggage", "linkspan-routing-key", "x", "user-agent"]
            ),
            st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60),
        ),
        st.tuples(
            st.sampled_from(["x-bin", "grpc-trace-bin", "traceparent-bin", "grpc-tags-bin"]),
            st.binary(max_size=60),
        ),
        st.tuples(st.just("x-long"), st.sampled_from(["a" * 3000, "a" * 7000, "a" * 20_000])),
    ),
    max_size=5,
)


def _check(code: grpc.StatusCode, words: str, sent: object) -> None:
    try:
        assert code in EXPECTED, f"{code}: {words}"
        assert_no_internals(words.partition("received metadata size")[0])
    except AssertionError as error:
        error.add_note(f"sent: {sent!r}"[:3000])
        raise


async def _call(
    channel: grpc.aio.Channel, method: str, data: bytes, metadata: Any = ()
) -> tuple[grpc.StatusCode, str]:
    """Make a call of bytes; one that goes on after its first answer is cancelled."""
    make: Callable[..., Any] = channel.unary_stream
    call: Any = make(PREFIX + method)(data, metadata=tuple(metadata), timeout=TIMEOUT_SECONDS)
    try:
        await call.read()
        if method == "HandleRequest" and not call.done():
            call.cancel()
        return await call.code(), await call.details() or ""
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    except asyncio.CancelledError:
        return grpc.StatusCode.CANCELLED, ""


def _explored(
    target: Stack, inputs: st.SearchStrategy[Any], try_one: Callable[..., Any], examples: int
) -> int:
    """Try inputs in one event loop, over one channel."""
    with asyncio.Runner() as runner:

        async def channel() -> grpc.aio.Channel:
            return grpc.aio.insecure_channel(target.grpc)

        shared = runner.run(channel())

        def check(made: Any) -> int:
            runner.run(try_one(shared, made))
            return 1

        try:
            return explore(inputs, check, examples=examples)
        finally:
            runner.run(shared.close())


@requirement("fuzz.rpcs")
def test_any_bytes_get_a_status_that_is_the_callers(target: Stack, record_property: Record) -> None:
    async def try_one(channel: grpc.aio.Channel, made: tuple[str, bytes]) -> None:
        code, words = await _call(channel, *made)
        _check(code, words, made)

    with unharmed(target):
        record_property(TRIED, _explored(target, CALLS, try_one, 300))


@requirement("fuzz.rpcs")
def test_any_metadata_is_taken_or_refused(target: Stack, record_property: Record) -> None:
    with unharmed(target), session_at(target.mcp) as peer:
        ping = service.HandleRequestRequest(
            session_id=peer.session_id or "",
            post=service.Post(message='{"jsonrpc":"2.0","id":1,"method":"ping"}'),
        ).SerializeToString()

        async def try_one(channel: grpc.aio.Channel, made: list[tuple[str, str | bytes]]) -> None:
            code, words = await _call(channel, "HandleRequest", ping, made)
            _check(code, words, made)

        record_property(TRIED, _explored(target, METADATA, try_one, 80))
        assert peer.ask("ping").status == 200


FRAMES: Final = st.builds(
    ClientFrame,
    call_id=st.integers(0, 4),
    method=st.sampled_from(["", "", PREFIX + "Init", PREFIX + "HandleRequest", PREFIX + "Nothing"]),
    metadata=st.lists(st.builds(Metadatum, key=TEXTS, text=TEXTS), max_size=2),
    timeout_micros=st.sampled_from([0, 1, 10_000_000, (1 << 64) - 1]),
    message=st.one_of(st.none(), CALLS.map(lambda made: made[1])),
    message_bytes_left=st.sampled_from([0, 0, 0, 1, 5000, (1 << 64) - 1]),
    half_close=st.booleans(),
    cancel=st.booleans(),
    grant_bytes=st.sampled_from([0, 1, (1 << 32) - 1]),
)
TUNNELS: Final = st.lists(
    st.one_of(
        st.builds(OpenRequest, frames=st.lists(FRAMES, max_size=5))
        .map(lambda request: request.SerializeToString())
        .flatmap(_mutated),
        st.binary(max_size=20),
    ),
    max_size=6,
)
FAULTS: Final = {fault.words for fault in Fault}
"""What the tunnel itself says of a call whose frames break its rules, with a code as gRPC has it."""


@requirement("fuzz.rpcs")
def test_a_tunnel_of_any_frames_harms_nobody_else(target: Stack, record_property: Record) -> None:
    opening = OpenRequest(settings=SETTINGS).SerializeToString()

    async def try_one(channel: grpc.aio.Channel, made: list[bytes]) -> None:
        make: Callable[..., Any] = channel.stream_stream
        tunnel: Any = make(OPEN)(timeout=TIMEOUT_SECONDS)
        try:
            for data in (opening, *made):
                await tunnel.write(data)
            await tunnel.done_writing()
            while isinstance(data := await tunnel.read(), bytes):
                _check_frames(data, made)
        except grpc.aio.AioRpcError:
            pass
        except asyncio.InvalidStateError:
            pass  # the server has ended the tunnel meanwhile
        words = await tunnel.details() or ""
        if words != "Internal error from Core":  # what grpc.aio makes of a write that is too late
            _check(await tunnel.code(), words, made)

    with unharmed(target):
        record_property(TRIED, _explored(target, TUNNELS, try_one, 200))


def _check_frames(data: bytes, sent: object) -> None:
    """Check the statuses of the calls in a tunnel."""
    try:
        frames = OpenResponse.FromString(data).frames
    except DecodeError:
        raise AssertionError(f"what came through the tunnel is no message: {data!r}") from None
    of_calls = {*EXPECTED, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.DEADLINE_EXCEEDED}
    codes = {code.value[0] for code in of_calls}
    for frame in frames:
        if frame.HasField("status_code") and frame.status_message not in FAULTS:
            assert frame.status_code in codes, f"{frame} after {sent!r}"
            assert_no_internals(frame.status_message)
