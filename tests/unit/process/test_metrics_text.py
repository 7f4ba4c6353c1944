"""What Prometheus reads, as its own parser understands it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.parser import text_string_to_metric_families
from tests.support.scrape import read_open_metrics

from linkspan_process.metrics.text import metrics_text, wants_open_metrics

TOTAL = AggregationTemporality.CUMULATIVE
TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C


def data(*metrics: Metric) -> MetricsData:
    scope = ScopeMetrics(InstrumentationScope("s"), list(metrics), "")
    return MetricsData([ResourceMetrics(Resource({"service.name": "n"}), [scope], "")])


def counted(name: str, value: int, attributes: dict[str, str], unit: str = "{x}") -> Metric:
    point = NumberDataPoint(attributes, 0, 1, value)
    return Metric(name, "Words.", unit, Sum([point], TOTAL, is_monotonic=True))


DURATIONS = Metric(
    "a.b.duration",
    'With "quotes", a \\ and\na line.',
    "s",
    Histogram(
        [
            HistogramDataPoint(
                {"k": "v"}, 0, 1, 3, 0.62, (1, 2, 0), (0.1, 1.0), 0.02, 0.3,
                [Exemplar({}, 0.3, 1_700_000_000_500_000_000, 0xB7AD6B7169203331, TRACE_ID)],
            )
        ],
        TOTAL,
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text; version=1.0.0", True),
        # What Prometheus sends.
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"  # noqa: ISC004
            "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2",
            True,
        ),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0.1, text/plain;q=0.9", False),
        ("application/openmetrics-text;q=much", False),
    ],
)
def test_the_format_is_what_the_reader_prefers(accept: str, wanted: bool) -> None:
    assert wants_open_metrics(accept) is wanted


def test_open_metrics_has_units_and_exemplars() -> None:
    text = metrics_text(data(DURATIONS), open_metrics=True)
    families = {each.name: each for each in read_open_metrics(text)}
    family = families["a_b_duration_seconds"]
    assert (family.type, family.unit) == ("histogram", "seconds")
    assert family.documentation == 'With "quotes", a \\ and\na line.'
    (bucket,) = [each for each in family.samples if each.exemplar is not None]
    assert (bucket.labels["le"], bucket.value) == ("1.0", 3)
    assert bucket.exemplar is not None
    assert bucket.exemplar.labels == {
        "trace_id": f"{TRACE_ID:032x}",
        "span_id": "b7ad6b7169203331",
    }
    assert families["target"].samples[0].labels == {"service_name": "n"}


def test_the_older_format_says_the_same_without_exemplars() -> None:
    text = metrics_text(data(DURATIONS, counted("a.c", 7, {})), open_metrics=False)
    families = {each.name: each for each in text_string_to_metric_families(text)}
    assert "trace_id" not in text
    buckets = [
        (each.labels["le"], each.value)
        for each in families["a_b_duration_seconds"].samples
        if each.name.endswith("_bucket")
    ]
    assert buckets == [("0.1", 1), ("1.0", 3), ("+Inf", 3)]
    assert families["a_c"].type == "counter"


def test_one_name_of_two_scopes_is_one_family() -> None:
    first, second = (
        ScopeMetrics(InstrumentationScope(name), [counted("a", 1, {})], "") for name in "xy"
    )
    both = MetricsData([ResourceMetrics(Resource({}), [first, second], "")])
    text = metrics_text(both, open_metrics=True)
    assert text.count("# TYPE a counter") == 1
    (family,) = read_open_metrics(text)
    assert {each.labels["otel_scope_name"] for each in family.samples} == {"x", "y"}


def test_a_name_keeps_what_says_its_unit_once() -> None:
    gauge = Gauge([NumberDataPoint({}, 0, 1, 5)])
    metrics = (
        Metric("x.bytes", "", "By", gauge),
        Metric("9.lives", "", "1", gauge),
        counted("y.total", 1, {}),
    )
    text = metrics_text(data(*metrics), open_metrics=True)
    for name in ("x_bytes{", "_9_lives_ratio{", "y_total{"):
        assert f"\n{name}" in text


def test_an_attribute_is_not_taken_for_the_bound_of_a_bucket() -> None:
    point = HistogramDataPoint({"le": "7"}, 0, 1, 1, 0.5, (0, 1), (0.1,), 0.5, 0.5)
    metric = Metric("a", "", "s", Histogram([point], TOTAL))
    (_, family) = read_open_metrics(metrics_text(data(metric), open_metrics=True))
    assert [each.labels["le"] for each in family.samples if "le" in each.labels] == ["0.1", "+Inf"]
    assert {each.labels["exported_le"] for each in family.samples} == {"7"}


@settings(deadline=None)
@given(
    st.text(min_size=1).filter(
        lambda name: any(each.isascii() and each.isalnum() for each in name)
    ),
    st.dictionaries(st.text(min_size=1), st.text(), max_size=3),
    st.text(),
)
def test_whatever_names_and_values_are_the_parsers_understand_it(
    name: str, attributes: dict[str, str], meaning: str
) -> None:
    point = NumberDataPoint(attributes, 0, 1, 1)
    metric = Metric(name, meaning, "{x}", Sum([point], TOTAL, is_monotonic=True))
    (_, family) = read_open_metrics(metrics_text(data(metric), open_metrics=True))
    (sample,) = family.samples
    assert sample.value == 1
    assert len(sample.labels) <= len(attributes) + 1
    list(text_string_to_metric_families(metrics_text(data(metric), open_metrics=False)))
