"""How many clients were cut off that took nothing of their answers: a counter, like `refusals`."""

from typing import Final

from opentelemetry import metrics

from linkspan_process.metrics.catalog import counter
from linkspan_worker.metrics_table import CUT_OFFS

cut_offs: Final = counter(metrics.get_meter("linkspan.worker"), CUT_OFFS)
