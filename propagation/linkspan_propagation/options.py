"""What to record of calls: the choices of whoever sets up a channel or a server.

Owns the keyword arguments of ``server_interceptor``, ``traced_server``, ``traced_channel`` and
their siblings, as a typed dictionary that says what each means and as a frozen value with the
defaults. Below lies ``capture``; above lie all set-up functions.

Invariant: a value of ``ServerChoices`` or ``ClientChoices`` can be honoured as it is.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypedDict

import grpc
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from opentelemetry.util.types import AttributeValue

from linkspan_propagation.capture import checked_keys


class ServerOptions(TypedDict, total=False):
    """Keyword arguments of the set-up of a server, all optional.

    Attributes:
        span_names: names of spans by full method (``/package.Service/Method``); the others are
            named by the conventions, ``package.Service/Method``.
        attributes: set on each span, such as ``server.address`` and ``server.port``, which a server
            cannot find out from a call; these two are set on metrics as well.
        record: called with the full method of each RPC, where gRPC looks up its handler: in the
            event loop, or in the thread that serves. Where it returns false, there is neither span
            nor metric nor ``traceresponse``, and the caller's context is set all the same. None,
            the default, records all of them.
        tracer_provider: where spans go; None means the global one, also one that is set later.
        public_endpoint: callers are strangers: each RPC starts a trace of its own, and its span
            links to the caller's. An RPC that is not recorded has no parent then either. Default
            false: the caller's trace goes on.
        request_metadata: keys of the caller's metadata that become ``rpc.request.metadata.KEY``.
        response_metadata: keys of the trailing metadata, as the handler set them with
            ``set_trailing_metadata``, that become ``rpc.response.metadata.KEY``.
        metrics: record ``rpc.server.call.duration``. Default false.
        meter_provider: where metrics go; None means the global one, also one that is set later.
        traceresponse: tell the caller in trailing metadata which span handled it, always or where a
            function of what is known of the RPC returns true. Default false. See ``traceresponse``
            for when it is missing.

    Setting one up raises ``MetadataCaptureError`` for a metadata key that may not be captured.
    """

    span_names: Mapping[str, str]
    attributes: Mapping[str, AttributeValue]
    record: Callable[[str], bool] | None
    tracer_provider: TracerProvider | None
    public_endpoint: bool
    request_metadata: Collection[str]
    response_metadata: Collection[str]
    metrics: bool
    meter_provider: MeterProvider | None
    traceresponse: bool | Callable[[grpc.HandlerCallDetails], bool]


class ClientOptions(TypedDict, total=False):
    """Keyword arguments of the set-up of a client, all optional.

    Attributes:
        spans: put a CLIENT span between the span that is current where a call is made and the
            server's. Default false: the server's span is the child of the current one itself.
        span_names: names of CLIENT spans by full method, as for servers.
        attributes: set on each CLIENT span, such as ``server.address`` and ``server.port``, which
            gRPC does not tell of a channel; these two are set on metrics as well.
        record: called with the full method where a call is made; where it returns false, there is
            neither span nor metric, and the current context is carried all the same. None, the
            default, records all of them.
        tracer_provider: where spans go; None means the global one, also one that is set later.
        request_metadata: keys of the call's metadata that become ``rpc.request.metadata.KEY``.
        response_metadata: keys of initial and trailing metadata that become
            ``rpc.response.metadata.KEY``.
        metrics: record ``rpc.client.call.duration``. Default false.
        meter_provider: where metrics go; None means the global one, also one that is set later.

    Setting one up raises ``MetadataCaptureError`` for a metadata key that may not be captured.
    """

    spans: bool
    span_names: Mapping[str, str]
    attributes: Mapping[str, AttributeValue]
    record: Callable[[str], bool] | None
    tracer_provider: TracerProvider | None
    request_metadata: Collection[str]
    response_metadata: Collection[str]
    metrics: bool
    meter_provider: MeterProvider | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerChoices:
    """``ServerOptions`` with the defaults."""

    span_names: Mapping[str, str] = field(default_factory=dict[str, str])
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict[str, AttributeValue])
    record: Callable[[str], bool] | None = None
    tracer_provider: TracerProvider | None = None
    public_endpoint: bool = False
    request_metadata: Collection[str] = ()
    response_metadata: Collection[str] = ()
    metrics: bool = False
    meter_provider: MeterProvider | None = None
    traceresponse: bool | Callable[[grpc.HandlerCallDetails], bool] = False

    def __post_init__(self) -> None:
        for name in ("request_metadata", "response_metadata"):
            object.__setattr__(self, name, checked_keys(getattr(self, name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientChoices:
    """``ClientOptions`` with the defaults."""

    spans: bool = False
    span_names: Mapping[str, str] = field(default_factory=dict[str, str])
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict[str, AttributeValue])
    record: Callable[[str], bool] | None = None
    tracer_provider: TracerProvider | None = None
    request_metadata: Collection[str] = ()
    response_metadata: Collection[str] = ()
    metrics: bool = False
    meter_provider: MeterProvider | None = None

    def __post_init__(self) -> None:
        for name in ("request_metadata", "response_metadata"):
            object.__setattr__(self, name, checked_keys(getattr(self, name)))
