"""What a stub calls: one object for each method, which makes calls of it.

Above lie stubs; below lie `channel`, which begins calls, and `stub_calls`, which shows them.
"""

from typing import Any, Protocol

import grpc

from linkspan_tunnel import metadata as checking
from linkspan_tunnel.client_call import ClientCall
from linkspan_tunnel.stub_calls import (
    Deserializer,
    Requests,
    Serializer,
    TunnelStreamStreamCall,
    TunnelStreamUnaryCall,
    TunnelUnaryStreamCall,
    TunnelUnaryUnaryCall,
)


class _NewCall(Protocol):
    """Makes a call and begins it."""

    def __call__(
        self,
        method: str,
        request: bytes | None,
        metadata: checking.Entries,
        timeout: float | None,
        *,
        wait_for_ready: bool,
        streams_responses: bool,
    ) -> ClientCall: ...


class _Method:
    """One method.

    Calling it raises ValueError or TypeError if the metadata cannot travel, and ValueError for
    credentials: a tunnel has those of its channel. Compression is the channel's as well; what a call
    says of it is ignored.
    """

    streams_responses = False

    def __init__(
        self,
        new_call: _NewCall,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> None:
        self._new_call = new_call
        self._method = method
        self._serialize = request_serializer
        self._deserialize = response_deserializer

    def _begin(
        self,
        request: bytes | None,
        timeout: float | None,
        metadata: Any,
        credentials: grpc.CallCredentials | None,
        wait_for_ready: bool | None,
    ) -> ClientCall:
        if credentials is not None:
            raise ValueError("a call through a tunnel has no credentials of its own")
        return self._new_call(
            self._method,
            request,
            checking.checked(metadata),
            timeout,
            wait_for_ready=bool(wait_for_ready),
            streams_responses=self.streams_responses,
        )

    def _data(self, request: Any) -> bytes:
        return request if self._serialize is None else self._serialize(request)


class TunnelUnaryUnaryMultiCallable(_Method, grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    """Makes calls of one request and one response."""

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> TunnelUnaryUnaryCall:
        """Make a call."""
        del compression
        call = self._begin(self._data(request), timeout, metadata, credentials, wait_for_ready)
        return TunnelUnaryUnaryCall(call, self._deserialize)


class TunnelUnaryStreamMultiCallable(_Method, grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    """Makes calls of one request and any number of responses."""

    streams_responses = True

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> TunnelUnaryStreamCall:
        """Make a call."""
        del compression
        call = self._begin(self._data(request), timeout, metadata, credentials, wait_for_ready)
        return TunnelUnaryStreamCall(call, self._deserialize)


class TunnelStreamUnaryMultiCallable(_Method, grpc.aio.StreamUnaryMultiCallable[Any, Any]):
    """Makes calls of any number of requests and one response."""

    def __call__(
        self,
        request_iterator: Requests | None = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> TunnelStreamUnaryCall:
        """Make a call."""
        del compression
        call = self._begin(None, timeout, metadata, credentials, wait_for_ready)
        return TunnelStreamUnaryCall(call, self._deserialize, self._serialize, request_iterator)


class TunnelStreamStreamMultiCallable(_Method, grpc.aio.StreamStreamMultiCallable[Any, Any]):
    """Makes calls of any number of requests and of responses."""

    streams_responses = True

    def __call__(
        self,
        request_iterator: Requests | None = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> TunnelStreamStreamCall:
        """Make a call."""
        del compression
        call = self._begin(None, timeout, metadata, credentials, wait_for_ready)
        return TunnelStreamStreamCall(call, self._deserialize, self._serialize, request_iterator)
