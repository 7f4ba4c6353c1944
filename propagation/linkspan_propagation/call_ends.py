"""When a client's call ends, and how: heard without touching the call.

Owns what has to be known of gRPC's call objects. ``client_spans`` lies beside it, and is told;
``channel``, ``client``, ``sync_channel`` and ``sync_client`` lie above.

Invariant: whoever lets go of a sync call that is under way cancels it, as on bare gRPC. So nothing
here holds such a call, and its end is read off what lies below it and outlives it, its ``_state``.
That name is gRPC's own affair; for a call without it, one of another library or of a later gRPC,
the call itself is held. (A call of grpc.aio is held by gRPC itself until it ends.)
"""

import asyncio
import functools
import logging
import weakref
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

import grpc

from linkspan_propagation.carriers import MetadataEntry
from linkspan_propagation.client_spans import ClientRecord
from linkspan_propagation.legal_metadata import is_legal

_LOGGER: Final = logging.getLogger(__name__)


def follow_aio(call: Any, record: ClientRecord, metadata: Iterable[Any] | None) -> None:
    """End ``record`` when a call of grpc.aio ends. Never raises.

    Args:
        call: what the call returned.
        record: who records it.
        metadata: as its caller gave them. Of a call that is refused for them gRPC says no end.
    """
    if not record.is_heard:
        return
    if not is_legal(metadata):
        record.refused(ValueError("gRPC refuses the metadata of this call"))
        return
    try:
        call.add_done_callback(functools.partial(_aio_ended, record))
    except NotImplementedError:  # what stands for a call that another interceptor waited for
        _aio_ended(record, call)
    except Exception:  # a call that cannot be heard costs its status
        _LOGGER.debug("the end of a call cannot be heard", exc_info=True)
        record.end(None)


def follow_sync(call: Any, record: ClientRecord) -> None:
    """End ``record`` when a call of sync gRPC ends, which is a future, an iterator or both.

    Never raises.
    """
    if not record.is_heard:
        return
    try:
        state = getattr(call, "_state", None)
        if state is None or not hasattr(state, "code"):
            ended = functools.partial(_sync_ended, call, record)
        else:
            ended = functools.partial(_sync_ended, state, record)
            # A call that is read in its caller's own thread hears of nothing once it is let go of.
            held = weakref.ref(call, lambda _: ended())
            ended = functools.partial(_and_hold, held, ended)
        if not _is_under_way(call, ended):
            ended()
    except Exception:  # a call that cannot be heard costs its status
        _LOGGER.debug("the end of a call cannot be heard", exc_info=True)
        record.end(None)


def _is_under_way(call: Any, ended: Callable[[], None]) -> bool:
    """Have ``ended`` called at the end of a call that is under way."""
    try:
        return bool(call.add_callback(ended))
    except NotImplementedError:  # an error stands for a call that failed
        return False


def raised(error: BaseException, record: ClientRecord) -> None:
    """End ``record`` of a call that raised instead of returning. Never raises."""
    if isinstance(error, grpc.RpcError):
        _sync_ended(error, record)
    else:
        record.refused(error)


def _and_hold(held: object, ended: Any) -> None:
    del held
    ended()


def _sync_ended(source: Any, record: ClientRecord) -> None:
    """Read the end off a call, an error or the state below a call."""
    try:
        code, details = _value(source, "code"), _value(source, "details")
        metadata: tuple[MetadataEntry, ...] = ()
        if record.wants_metadata:
            metadata = (
                *(_value(source, "initial_metadata") or ()),
                *(_value(source, "trailing_metadata") or ()),
            )
        if isinstance(details, bytes):
            details = details.decode(errors="replace")
        record.end(code if isinstance(code, grpc.StatusCode) else None, details, metadata)
    except Exception:  # telemetry must not fail gRPC's thread
        _LOGGER.debug("a call does not tell how it ended", exc_info=True)
        record.end(None)


def _value(source: Any, name: str) -> Any:
    """Return what a call has as a method and a state as a plain attribute."""
    value = getattr(source, name, None)
    return value() if callable(value) else value


def _aio_ended(record: ClientRecord, call: Any) -> None:
    try:
        metadata: tuple[MetadataEntry, ...] = ()
        if record.wants_metadata:
            metadata = (
                *(_now(call.initial_metadata()) or ()),
                *(_now(call.trailing_metadata()) or ()),
            )
        record.end(_now(call.code()), _now(call.details()), metadata)
    except Exception:  # telemetry must not fail the loop
        _LOGGER.debug("a call does not tell how it ended", exc_info=True)
        record.end(None)


def _now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return what ``coroutine`` returns without waiting; None where it would wait or fail."""
    try:
        coroutine.send(None)
    except StopIteration as stopped:
        return stopped.value
    except (grpc.RpcError, RuntimeError, asyncio.CancelledError, asyncio.InvalidStateError):
        return None
    coroutine.close()
    return None
