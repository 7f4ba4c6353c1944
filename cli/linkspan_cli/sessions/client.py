"""The session service, as operators call it: pages of sessions, one session, the end of one.

Above lies `command`; below lies gRPC. Every failure leaves here as a `CallError` whose one line says
what to do about it. No call takes longer than `CALL_SECONDS`; to end one session takes at most
`MAX_CALLS` of them.

CallError                   one call failed
├── NoSuchSessionError      there is no such session
└── ServerUnreachableError  no session server can be had: so will other calls fail
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import grpc

from linkspan.session.v1.session_pb2 import Session
from linkspan.session.v1.session_service_pb2 import (
    EndSessionRequest,
    ErrorReason,
    GetSessionRequest,
    ListSessionsRequest,
)
from linkspan.session.v1.session_service_pb2_grpc import SessionServiceStub
from linkspan_cli.sessions.formats import plain
from linkspan_contract.limits import MAX_GRPC_MESSAGE_BYTES
from linkspan_contract.status import Failure, read_failure
from linkspan_process.tls.channels import open_channel
from linkspan_process.tls.watching import TlsFiles
from linkspan_worker.targets import name_of

if TYPE_CHECKING:
    from linkspan.session.v1.session_service_pb2_grpc import SessionServiceAsyncStub

CALL_SECONDS: Final = 10.0
"""How long a call may take."""

PAGE_SIZE: Final = 500
"""How many sessions are asked for at once: enough to be quick, and few enough to begin soon."""

MAX_CALLS: Final = 6
"""How often a session is tried to be ended, from one session server to the next."""

_ASIDE_SECONDS: Final = 2.0
"""How long a call may take that the command could do without."""

_OPTIONS: Final = (
    # A page of sessions whose principals are all as long as they may be is over gRPC's own 4 MB.
    ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_BYTES),
)

_NO_REASON: Final = ErrorReason.ERROR_REASON_UNSPECIFIED
_LOST_CODES: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What gRPC itself reports when there is no connection, or it breaks."""


class CallError(Exception):
    """A call failed, and the message tells a person what to do about it."""


class NoSuchSessionError(CallError):
    """There is no such session."""


class ServerUnreachableError(CallError):
    """No session server can be reached."""


@dataclass(frozen=True, slots=True)
class Page:
    """Sessions, and whether there are more."""

    sessions: list[Session]
    more: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """One session.

    Attributes:
        session: What is on record.
        counted_by_owner: Whether its number of running requests is its owner's own word.
    """

    session: Session
    counted_by_owner: bool


class SessionsClient:
    """A session server; use it as a context manager, within one event loop."""

    def __init__(
        self,
        target: str,
        *,
        page_size: int = PAGE_SIZE,
        call_seconds: float = CALL_SECONDS,
        tls: TlsFiles | None = None,
    ) -> None:
        """Make a client; it connects when it is first used.

        Args:
            target: A gRPC target, such as `127.0.0.1:50051` or `dns:///sessions:50051`.
            page_size: How many sessions to ask for at once.
            call_seconds: How long a call may take.
            tls: Who is asking; None for no TLS.
        """
        self._target = target
        self._tls = tls
        self._page_size = page_size
        self._call_seconds = call_seconds
        self._channels = AsyncExitStack()
        self._stubs: dict[str, SessionServiceAsyncStub] = {}
        self._out_of_reach: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._channels.aclose()

    async def pages(self) -> AsyncGenerator[Page]:
        """Walk all sessions that are open, oldest first.

        Raises:
            CallError: A page could not be had; those before it were.
        """
        stub = await self._stub(self._target)
        request = ListSessionsRequest(page_size=self._page_size)
        while True:
            try:
                page = await stub.ListSessions(request, timeout=self._call_seconds)
            except grpc.aio.AioRpcError as error:
                raise self._call_error(read_failure(error)) from None
            yield Page(list(page.sessions), bool(page.next_page_token))
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def get(self, session_id: str) -> Shown:
        """Return what is on record about a session, and what runs in it as its owner counts it.

        Raises:
            CallError: It could not be had.
        """
        request = GetSessionRequest(session_id=session_id)
        stub = await self._stub(self._target)
        try:
            session = (await stub.GetSession(request, timeout=self._call_seconds)).session
        except grpc.aio.AioRpcError as error:
            raise self._call_error(read_failure(error)) from None
        # A server without this field has no address for operators that it could tell of.
        address = session.owner_admin_address or session.owner_address
        is_its_own = session.owned_here or address in ("", self._target)
        if is_its_own or session.requests_in_flight:
            return Shown(session, counted_by_owner=True)
        owner = await self._stub(address)
        try:
            told = (await owner.GetSession(request, timeout=_ASIDE_SECONDS)).session
        except grpc.aio.AioRpcError:
            return Shown(session, counted_by_owner=False)
        return Shown(told, counted_by_owner=told.owner_address == session.owner_address)

    async def end(self, session_id: str) -> bool:
        """End a session, wherever it is.

        Returns:
            Whether it was there; False if it had ended or expired before, or never was.

        Raises:
            CallError: It could not be ended, or nobody can tell.
        """
        owner, unreachable, perhaps_ended = "", "", False
        for _ in range(MAX_CALLS):
            stub = await self._stub(_operated_at(owner) if owner else self._target)
            request = EndSessionRequest(session_id=session_id, unreachable_owner=unreachable)
            try:
                await stub.EndSession(request, timeout=self._call_seconds)
            except grpc.aio.AioRpcError as error:
                failure = read_failure(error)
            else:
                return True
            if failure.code is grpc.StatusCode.NOT_FOUND and failure.reason != _NO_REASON:
                return perhaps_ended
            if failure.reason == ErrorReason.ERROR_REASON_SESSION_ELSEWHERE:
                owner, unreachable = self._after_redirect(failure.owner, unreachable), ""
                if owner in self._out_of_reach:
                    owner, unreachable = "", owner
            elif owner and _is_silence(failure):
                # It may have heard the call all the same, and done what it was asked.
                perhaps_ended = True
                self._out_of_reach.add(owner)
                owner, unreachable = "", owner
            else:
                raise self._call_error(failure)
        raise CallError("the session moves from server to server; try again")

    async def _stub(self, target: str) -> "SessionServiceAsyncStub":
        if target not in self._stubs:
            # Servers behind one name have it in their certificates, whatever else they are called by.
            channel = open_channel(
                target, self._tls, server_name=name_of(self._target), options=_OPTIONS
            )
            self._stubs[target] = SessionServiceStub(
                await self._channels.enter_async_context(channel)
            )
        return self._stubs[target]

    @staticmethod
    def _after_redirect(owner: str, unreachable: str) -> str:
        """Return whom to call after a redirect; empty for the first server again.

        Raises:
            CallError: It is the owner that was found out of reach, and other servers reach it.
        """
        if owner and owner == unreachable:
            raise CallError(
                f"the session is on {plain(_address_of(owner))}, which cannot be reached from here; "
                "run this command where it can be"
            )
        return owner

    def _call_error(self, failure: Failure) -> CallError:
        """Say in one line what failed and what to do."""
        if failure.reason != _NO_REASON:
            words = plain(failure.message) or ErrorReason.Name(failure.reason)
            if failure.code is grpc.StatusCode.NOT_FOUND:
                return NoSuchSessionError(
                    "there is no such session; `linkspan sessions list` shows those that are open"
                )
            if failure.correlation_id:
                words += f" (correlation id {plain(failure.correlation_id)})"
            return CallError(words)
        if failure.code in _LOST_CODES:
            return ServerUnreachableError(
                f"no session server answers at {self._target}; is one running, and is this its "
                "gRPC port? Start one with `linkspan run` or `linkspan session`, or name another "
                "with --server"
            )
        if failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return CallError(
                f"the session server at {self._target} did not answer within "
                f"{self._call_seconds:g} seconds; try again, or see whether it is well"
            )
        if failure.code is grpc.StatusCode.UNIMPLEMENTED:
            return CallError(
                f"the server at {self._target} is no Linkspan session server, too old for this "
                "command, or has an --admin-address for it; name another with --server"
            )
        return CallError(
            f"the call to {self._target} failed with {failure.code.name}: {plain(failure.message)}"
        )


def _address_of(owner: str) -> str:
    """Return the address in an owner's name: what comes before `#`, and which run of it that is."""
    return owner.rpartition("#")[0]


def _operated_at(owner: str) -> str:
    """Return where an owner is operated: at its address, unless its name has another behind `@`."""
    return owner.rpartition("#")[2].partition("@")[2] or _address_of(owner)


def _is_silence(failure: Failure) -> bool:
    return failure.reason == _NO_REASON and (
        failure.code in _LOST_CODES or failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    )
