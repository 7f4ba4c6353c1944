"""The published gRPC instrumentation, opentelemetry-instrumentation-grpc, beside this library.

Owns the three ways in which the two meet: its interceptors by choice, in place of ours; our giving
way where it has patched gRPC already, so that no call has two spans of one kind; and taking its
patches out. Needs that package only where its interceptors are asked for. Below lies gRPC; above
lie the set-up functions and whoever chooses.

Mind what its interceptors change of calls, see ``README.md``: with them a call with one response
goes on at its server when its client cancels it, and waits for ever if its client uses ``write()``.
"""

import importlib
import sys
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import grpc
from opentelemetry.trace import TracerProvider

from linkspan_propagation.errors import InstrumentationMissingError

Side: TypeAlias = Literal["aio_client", "aio_server", "sync_client", "sync_server"]

_MODULE: Final = "opentelemetry.instrumentation.grpc"
_INSTRUMENTORS: Final[dict[Side, str]] = {
    "aio_client": "GrpcAioInstrumentorClient",
    "aio_server": "GrpcAioInstrumentorServer",
    "sync_client": "GrpcInstrumentorClient",
    "sync_server": "GrpcInstrumentorServer",
}


def contrib_client_interceptors(
    *, tracer_provider: TracerProvider | None = None, record: Callable[[str], bool] | None = None
) -> list[grpc.aio.ClientInterceptor]:
    """Return its interceptors for ``grpc.aio.insecure_channel(interceptors=[...])``.

    They make a CLIENT span of each call and carry its context, by OpenTelemetry's global
    propagator, which ``set_up_telemetry`` sets.

    Args:
        tracer_provider: where spans go; None means the global one.
        record: called with the full method; where it returns false, nothing is carried either.

    Raises:
        InstrumentationMissingError: the package is not installed.
    """
    found: list[grpc.aio.ClientInterceptor] = _contrib().aio_client_interceptors(
        tracer_provider=tracer_provider, filter_=_filter(record)
    )
    return found


def contrib_server_interceptor(
    *, tracer_provider: TracerProvider | None = None, record: Callable[[str], bool] | None = None
) -> grpc.aio.ServerInterceptor:
    """Return its interceptor for ``grpc.aio.server(interceptors=[...])``.

    It makes a SERVER span of each RPC below the caller's, named by the full method.

    Args:
        tracer_provider: where spans go; None means the global one.
        record: called with the full method; where it returns false, the caller's context is not
            set either.

    Raises:
        InstrumentationMissingError: the package is not installed.
    """
    found: grpc.aio.ServerInterceptor = _contrib().aio_server_interceptor(
        tracer_provider=tracer_provider, filter_=_filter(record)
    )
    return found


def contrib_sync_client_channel(
    channel: grpc.Channel,
    *,
    tracer_provider: TracerProvider | None = None,
    record: Callable[[str], bool] | None = None,
) -> grpc.Channel:
    """Return a sync channel with its interceptor before ``channel``.

    A channel and no interceptor, because its interceptor is not of gRPC's kind.

    Args:
        channel: the channel that does the work.
        tracer_provider: as for ``contrib_client_interceptors``.
        record: as for ``contrib_client_interceptors``.

    Raises:
        InstrumentationMissingError: the package is not installed.
    """
    contrib = _contrib()
    interceptor = contrib.client_interceptor(
        tracer_provider=tracer_provider, filter_=_filter(record)
    )
    wrapped: grpc.Channel = importlib.import_module(f"{_MODULE}.grpcext").intercept_channel(
        channel, interceptor
    )
    return wrapped


def contrib_sync_server_interceptor(
    *, tracer_provider: TracerProvider | None = None, record: Callable[[str], bool] | None = None
) -> grpc.ServerInterceptor:
    """Return its interceptor for ``grpc.server(interceptors=[...])``.

    Args:
        tracer_provider: as for ``contrib_server_interceptor``.
        record: as for ``contrib_server_interceptor``.

    Raises:
        InstrumentationMissingError: the package is not installed.
    """
    found: grpc.ServerInterceptor = _contrib().server_interceptor(
        tracer_provider=tracer_provider, filter_=_filter(record)
    )
    return found


def is_instrumented(side: Side) -> bool:
    """Say whether it has patched this process's gRPC on that side by now.

    Its instrumentors are singletons, whose constructor would reset a filter: so they are looked at
    and not called.
    """
    instrumentor = _instrumentor(side)
    return instrumentor is not None and bool(instrumentor.is_instrumented_by_opentelemetry)


def remove_contrib_patches() -> list[Side]:
    """Take its patches of gRPC out of this process, as ``opentelemetry-instrument`` puts them in.

    Channels and servers that are made from now on are bare gRPC's, to be traced by this library
    alone; those that are there already keep what they have. Other instrumentations stay.

    Returns:
        The sides that had been patched.
    """
    removed: list[Side] = []
    for side in _INSTRUMENTORS:
        if is_instrumented(side):
            _instrumentor(side).uninstrument()
            removed.append(side)
    return removed


def _contrib() -> Any:
    try:
        return importlib.import_module(_MODULE)
    except ImportError as error:
        raise InstrumentationMissingError from error


def _instrumentor(side: Side) -> Any:
    module = sys.modules.get(_MODULE)
    kind = getattr(module, _INSTRUMENTORS[side], None)
    return getattr(kind, "_instance", None)


def _filter(record: Callable[[str], bool] | None) -> Callable[[Any], bool] | None:
    if record is None:
        return None

    def is_recorded(details: Any) -> bool:
        method = details.method
        return record(method.decode() if isinstance(method, bytes) else method)

    return is_recorded
