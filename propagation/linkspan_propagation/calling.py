"""One line that traces a channel, of either kind.

Owns ``traced_channel`` and nothing else. Below lie ``channel`` (grpc.aio) and ``sync_channel``.
"""

from typing import Unpack, overload

import grpc

from linkspan_propagation.channel import traced_aio_channel
from linkspan_propagation.options import ClientOptions
from linkspan_propagation.sync_channel import traced_sync_channel


@overload
def traced_channel(
    channel: grpc.aio.Channel, **options: Unpack[ClientOptions]
) -> grpc.aio.Channel: ...


@overload
def traced_channel(channel: grpc.Channel, **options: Unpack[ClientOptions]) -> grpc.Channel: ...


def traced_channel(
    channel: grpc.aio.Channel | grpc.Channel, **options: Unpack[ClientOptions]
) -> grpc.aio.Channel | grpc.Channel:
    """Return a channel whose calls carry the current context; ``channel`` does the work.

    Calls of all four kinds behave as on ``channel``: cancelling, reading, writing, iterating,
    deadlines, errors and metadata of both directions. Closing either closes both. Wrapping twice is
    harmless: there is one ``traceparent``.

    Args:
        channel: of ``grpc.aio`` or of ``grpc``, or anything that makes calls as one of them does.
        **options: what to record beside, see ``ClientOptions``; nothing by default.

    Raises:
        MetadataCaptureError: a metadata key is asked for that may not be captured.

    Where opentelemetry-instrumentation-grpc has patched this process's channels by now, as under
    ``opentelemetry-instrument``, its CLIENT spans stand and this adds none.
    """
    if isinstance(channel, grpc.Channel):
        return traced_sync_channel(channel, **options)
    return traced_aio_channel(channel, **options)
