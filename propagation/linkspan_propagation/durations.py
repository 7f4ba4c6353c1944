"""How long calls took: the histograms ``rpc.client.call.duration`` and ``rpc.server.call.duration``.

Owns one histogram of the OpenTelemetry API. Above lie ``client_spans`` and ``server_spans``; where
values go is the process's choice.

Invariants: attributes have few values, for each combination is a time series: never what a caller
made up; nothing that a meter raises reaches a call.
"""

import logging
from collections.abc import Mapping
from typing import Final

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from linkspan_propagation import conventions

_LOGGER: Final = logging.getLogger(__name__)
_ALSO_OF_METRICS: Final = (conventions.SERVER_ADDRESS, conventions.SERVER_PORT)


class CallDurations:
    """Records the durations of calls on one side."""

    def __init__(
        self,
        name: str,
        description: str,
        *,
        attributes: Mapping[str, AttributeValue],
        meter_provider: metrics.MeterProvider | None,
    ) -> None:
        """Make the histogram.

        Args:
            name: of the histogram.
            description: of the histogram.
            attributes: those of spans; ``server.address`` and ``server.port`` of them are kept.
            meter_provider: None means the global one, also one that is set later.
        """
        self._attributes: dict[str, AttributeValue] = {
            conventions.RPC_SYSTEM_NAME: conventions.RPC_SYSTEM_GRPC,
            **{key: attributes[key] for key in _ALSO_OF_METRICS if key in attributes},
        }
        self._histogram = metrics.get_meter(
            "linkspan_propagation",
            meter_provider=meter_provider,
            schema_url=conventions.SCHEMA_URL,
        ).create_histogram(
            name,
            unit=conventions.RPC_DURATION_UNIT,
            description=description,
            explicit_bucket_boundaries_advisory=conventions.RPC_DURATION_BUCKETS_SECONDS,
        )

    def record(
        self,
        duration_seconds: float,
        *,
        method: str,
        status: str | None,
        error_type: str | None,
        context: Context,
    ) -> None:
        """Record one call. Never raises.

        Args:
            duration_seconds: how long it took.
            method: ``package.Service/Method``, or ``_OTHER``.
            status: name of its gRPC status; None where gRPC did not tell.
            error_type: ``error.type``, where the call counts as an error.
            context: whose span becomes the exemplar, where the exporter has such.
        """
        attributes = {**self._attributes, conventions.RPC_METHOD: method}
        if status is not None:
            attributes[conventions.RPC_RESPONSE_STATUS_CODE] = status
        if error_type is not None:
            attributes[conventions.ERROR_TYPE] = error_type
        try:
            self._histogram.record(duration_seconds, attributes, context)
        except Exception:  # a broken meter costs a value
            _LOGGER.warning("could not record how long an RPC took", exc_info=True)
