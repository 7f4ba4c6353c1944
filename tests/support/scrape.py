"""What a metrics endpoint says, read with the parser that Prometheus' own client has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser
from tests.support.processes import ServiceProcess

from linkspan_process.ready import parse_ready_line

OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0"

_PARSER: Final[Any] = parser  # it has hints, but not for what it takes


@dataclass(frozen=True, slots=True)
class Scraped:
    """The metrics of a process at one moment.

    Attributes:
        text: As they came.
        families: By name, as the parser has them.
    """

    text: str
    families: Mapping[str, Metric]

    def value(self, sample: str, **labels: str) -> float | None:
        """Return the sum of all samples of a name that have these labels; None if there is none."""
        found = [
            each.value
            for family in self.families.values()
            for each in family.samples
            if each.name == sample and labels.items() <= each.labels.items()
        ]
        return sum(found) if found else None

    def labels(self, sample: str, label: str) -> set[str]:
        """Return all values of a label of the samples of a name."""
        return {
            each.labels[label]
            for family in self.families.values()
            for each in family.samples
            if each.name == sample and label in each.labels
        }

    def exemplars(self, sample: str) -> list[Mapping[str, str]]:
        """Return the labels of the exemplars of a name's samples."""
        return [
            each.exemplar.labels
            for family in self.families.values()
            for each in family.samples
            if each.name == sample and each.exemplar is not None
        ]


def metrics_of(process: ServiceProcess) -> str:
    """Return where a process shows its metrics, as its ready line says."""
    for line in process.output:
        addresses = parse_ready_line(line)
        if addresses is not None:
            return addresses["metrics"]
    raise AssertionError("not ready")


def read_open_metrics(text: str) -> list[Metric]:
    """Read OpenMetrics; whatever is not in order raises ValueError."""
    return list(_PARSER.text_string_to_metric_families(text))


def scrape(address: str) -> Scraped:
    """Ask for all metrics, in OpenMetrics."""
    response = httpx2.get(address, headers={"accept": OPEN_METRICS}, timeout=20.0)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    families = {each.name: each for each in read_open_metrics(response.text)}
    return Scraped(response.text, families)
