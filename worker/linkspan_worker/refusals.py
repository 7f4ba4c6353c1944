"""How many requests were refused, by reason: a counter, which does nothing where metrics are off."""

from typing import Final

from opentelemetry import metrics

from linkspan_process.metrics.catalog import counter
from linkspan_worker.metrics_table import REFUSALS

refusals: Final = counter(metrics.get_meter("linkspan.worker"), REFUSALS)
"""Its attribute `reason` is the `error_type` of a `Refusal`: from the table of failures, or few."""
