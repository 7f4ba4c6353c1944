"""A channel whose calls share one stream of another channel.

Above lie stubs; below lie `client_tunnel` (one open tunnel) and `stub_calls` (what a stub returns).
Owns when tunnels are opened and given up. Invariants: there is one tunnel that takes calls at most;
there are never two attempts to open one at once, and a pause follows each that fails.
"""

import asyncio
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

import grpc

from linkspan.tunnel.v1.tunnel_service_pb2 import OpenRequest
from linkspan_tunnel.backoff import Backoff
from linkspan_tunnel.client_call import ClientCall
from linkspan_tunnel.client_tunnel import STREAM_ERRORS, ClientTunnel
from linkspan_tunnel.deadlines import Deadlines
from linkspan_tunnel.errors import TunnelBrokenError
from linkspan_tunnel.limits import TunnelLimits
from linkspan_tunnel.metadata import Entries
from linkspan_tunnel.multi_callables import (
    TunnelStreamStreamMultiCallable,
    TunnelStreamUnaryMultiCallable,
    TunnelUnaryStreamMultiCallable,
    TunnelUnaryUnaryMultiCallable,
)

OPEN_METHOD: Final = "/linkspan.tunnel.v1.TunnelService/Open"
CLOSE_SECONDS: Final = 1.0
"""How long tunnels may take to end when the channel is closed."""

State = grpc.ChannelConnectivity
_DEFAULT_LIMITS: Final = TunnelLimits()


class TunnelChannel(grpc.aio.Channel):
    """A channel that makes all its calls through one tunnel.

    Generated stubs work on it as on any channel. It opens a tunnel when it is first used, and anew
    once that has ended. While it opens one, calls wait; while it pauses after a failure, at most a
    quarter of a second, they fail with UNAVAILABLE at once, unless they are made with
    `wait_for_ready`. To be used in one event loop.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        limits: TunnelLimits = _DEFAULT_LIMITS,
        open_timeout_seconds: float = 5.0,
    ) -> None:
        """Stand before a channel; nothing is sent yet.

        Args:
            channel: Carries the tunnels. Its owner sets keepalive, which is what notices a server
                that does not answer any more. Closed along with this one.
            limits: What this side keeps to.
            open_timeout_seconds: How long a server may take to answer that it opens a tunnel.
        """
        self._channel = channel
        self._limits = limits
        self._open_timeout_seconds = open_timeout_seconds
        self._state = State.IDLE
        self._closing = False
        self._watchers: list[asyncio.Future[None]] = []
        self._deadlines: Deadlines | None = None
        self._tunnel: ClientTunnel | None = None
        self._tunnels: dict[asyncio.Task[None], ClientTunnel | None] = {}
        self._waiting: dict[ClientCall, None] = {}
        self._calls: set[ClientCall] = set()
        self._backoff = Backoff()
        self._since = 0.0
        self._pause: asyncio.TimerHandle | None = None
        self._failure = (grpc.StatusCode.UNAVAILABLE, "")

    # --- grpc.aio.Channel -----------------------------------------------------------------------

    async def __aenter__(self) -> "TunnelChannel":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        await self.close()
        return None

    async def close(self, grace: float | None = None) -> None:
        """End all calls, the tunnel, and the channel behind; no call can be made from now on.

        Args:
            grace: How long calls may run on, in seconds; None to cancel them at once.
        """
        if self._closing:
            return
        self._closing = True
        if grace and self._calls:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + grace
            while self._calls and (left := deadline - loop.time()) > 0:
                await asyncio.wait([next(iter(self._calls)).changed()], timeout=left)
        self._set_state(State.SHUTDOWN)
        if self._pause is not None:
            self._pause.cancel()
        for call in list(self._calls):
            call.cancel()
        for tunnel in self._tunnels.values():
            if tunnel is not None:
                tunnel.end()
        opening = [task for task, tunnel in self._tunnels.items() if tunnel is None]
        for task in opening:
            task.cancel()
        if self._tunnels:
            _, late = await asyncio.wait(list(self._tunnels), timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        if self._deadlines is not None:
            self._deadlines.close()
        await self._channel.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return whether there is a tunnel.

        Args:
            try_to_connect: Whether to open one if there is none, and no pause to keep.
        """
        if try_to_connect and self._state is State.IDLE:
            self._open()
        return self._state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another one."""
        while self._state is last_observed_state:
            watcher = asyncio.get_running_loop().create_future()
            self._watchers.append(watcher)
            await watcher

    async def channel_ready(self) -> None:
        """Wait until there is a tunnel; opens one, again and again if need be."""
        while (state := self.get_state(try_to_connect=True)) is not State.READY:
            if state is State.SHUTDOWN:
                raise grpc.aio.UsageError("Channel is closed.")
            await self.wait_for_state_change(state)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return what makes calls of one request and one response."""
        return TunnelUnaryUnaryMultiCallable(self._new_call, *args, **kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return what makes calls of one request and any number of responses."""
        return TunnelUnaryStreamMultiCallable(self._new_call, *args, **kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return what makes calls of any number of requests and one response."""
        return TunnelStreamUnaryMultiCallable(self._new_call, *args, **kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return what makes calls of any number of requests and of responses."""
        return TunnelStreamStreamMultiCallable(self._new_call, *args, **kwargs)

    # --- calls ----------------------------------------------------------------------------------

    @property
    def deadlines(self) -> Deadlines:
        """What tells calls that their time is over."""
        if self._deadlines is None:
            self._deadlines = Deadlines(asyncio.get_running_loop())
        return self._deadlines

    def forget(self, call: ClientCall) -> None:
        """Note that a call has ended."""
        self._calls.discard(call)
        if call.carrier is None:
            self._waiting.pop(call, None)

    def _new_call(
        self,
        method: str,
        request: bytes | None,
        metadata: Entries,
        timeout: float | None,
        *,
        wait_for_ready: bool,
        streams_responses: bool,
    ) -> ClientCall:
        if self._closing:
            raise grpc.aio.UsageError("Channel is closed.")
        call = ClientCall(
            self,
            asyncio.get_running_loop(),
            self._limits,
            method,
            request,
            metadata,
            timeout,
            wait_for_ready=wait_for_ready,
            streams_responses=streams_responses,
        )
        self._calls.add(call)
        if self._tunnel is not None:
            self._tunnel.begin(call)
        elif self._state is State.TRANSIENT_FAILURE and not call.wait_for_ready:
            self._refuse(call)
        else:
            self._waiting[call] = None
            if self._state is State.IDLE:
                self._open()
        return call

    def _refuse(self, call: ClientCall) -> None:
        code, words = self._failure
        call.fail(code, f"no tunnel: {words}", not_begun=True)

    # --- tunnels --------------------------------------------------------------------------------

    def _set_state(self, state: grpc.ChannelConnectivity) -> None:
        self._state = state
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    def _open(self) -> None:
        self._set_state(State.CONNECTING)
        task = asyncio.get_running_loop().create_task(self._keep_tunnel())
        self._tunnels[task] = None
        task.add_done_callback(self._tunnels.pop)

    async def _keep_tunnel(self) -> None:
        """Open a tunnel, and carry calls on it until it ends."""
        tunnel = await self._opened()
        task = asyncio.current_task()
        if tunnel is None or task is None:
            return
        self._tunnels[task] = tunnel
        if tunnel.over:
            self._failed(grpc.StatusCode.UNAVAILABLE, "the server is draining")
        elif self._state is not State.SHUTDOWN:
            self._tunnel = tunnel
            self._since = asyncio.get_running_loop().time()
            self._set_state(State.READY)
            waiting, self._waiting = self._waiting, {}
            for call in waiting:
                if call.code is None:
                    tunnel.begin(call)
        if self._tunnel is not tunnel:
            tunnel.end()
        await tunnel.run()

    async def _opened(self) -> ClientTunnel | None:
        """Return a new tunnel, or None if that failed."""
        make: Callable[..., Any] = self._channel.stream_stream
        stream: Any = None
        try:
            stream = make(OPEN_METHOD)()
            async with asyncio.timeout(self._open_timeout_seconds):
                request = OpenRequest(settings=self._limits.settings(server=False))
                await stream.write(request.SerializeToString())
                first = await stream.read()
            if isinstance(first, bytes):
                return ClientTunnel(stream, first, self._limits, self._over)
            failure = (grpc.StatusCode.UNAVAILABLE, "the server ended it at once")
        except grpc.aio.AioRpcError as error:
            failure = (_code_of(error.code()), error.details() or error.code().name)
        except TunnelBrokenError as broken:
            failure = (grpc.StatusCode.UNAVAILABLE, f"the server broke a rule: {broken}")
        except TimeoutError:
            failure = (grpc.StatusCode.UNAVAILABLE, "the server does not answer")
        except STREAM_ERRORS as error:
            failure = (grpc.StatusCode.UNAVAILABLE, str(error))
        except BaseException:
            if stream is not None:
                stream.cancel()
            raise
        if stream is not None:
            stream.cancel()
        self._failed(*failure)
        return None

    def _failed(self, code: grpc.StatusCode, words: str) -> None:
        self._failure = (code, words)
        self._pause_for(self._backoff.failed(_spread()))

    def _over(self, tunnel: ClientTunnel, words: str) -> None:
        """Have new calls go elsewhere; those that run on a tunnel go on for as long as it does."""
        if self._tunnel is not tunnel:
            return
        self._tunnel = None
        self._failure = (grpc.StatusCode.UNAVAILABLE, words)
        lasted_seconds = asyncio.get_running_loop().time() - self._since
        self._pause_for(self._backoff.ended(lasted_seconds, _spread()))

    def _pause_for(self, seconds: float) -> None:
        if self._state is State.SHUTDOWN:
            return
        if seconds == 0.0:
            self._go_on()
            return
        self._set_state(State.TRANSIENT_FAILURE)
        for call in [call for call in self._waiting if not call.wait_for_ready]:
            self._refuse(call)
        self._pause = asyncio.get_running_loop().call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if self._state is State.SHUTDOWN:
            return
        self._set_state(State.IDLE)
        if self._waiting:
            self._open()


def _code_of(code: grpc.StatusCode) -> grpc.StatusCode:
    """Return what calls fail with that wait for a tunnel when opening one failed with a code."""
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return code
    return grpc.StatusCode.UNAVAILABLE


def _spread() -> float:
    return random.uniform(0.5, 1.0)  # noqa: S311 - it keeps no secret
