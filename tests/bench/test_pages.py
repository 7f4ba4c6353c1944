"""The page has a table for each bench and a chart for most, and neither lies about a figure."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from bench.compare.aims import OURS, SDK_JSON
from bench.compare.benches import (
    BENCHES,
    CALL_32,
    FAN_OUT,
    HANDSHAKE,
    INITIALIZE,
    LIST,
    MEMORY_AFTER,
    MEMORY_BEFORE,
    Outcome,
)
from bench.compare.boundary import BARE, ECHO_32, INTERCEPTED, TUNNEL
from bench.compare.charts import Bar, bar_chart, step_of
from bench.compare.course import Arrived
from bench.compare.pages import charts, page
from bench.compare.plan import Plan, interleaved, quick_plan
from bench.compare.samples import Arms, Sample

SVG = "{http://www.w3.org/2000/svg}"


def sample(per_second: float) -> Sample:
    return Sample(per_second, 0.001, 0.002, 0.0005, 0.00002, 200 * 2**20)


def arms(*labels: str) -> Arms:
    return {label: [sample(100), sample(300), sample(200)] for label in labels}


def everything() -> dict[str, Outcome]:
    both = arms(OURS, SDK_JSON)
    few = arms("tracing off, JSON", "tracing 100 %, JSON")
    return {
        "payloads": Outcome({LIST.name: both}),
        "creation": Outcome({INITIALIZE: both, HANDSHAKE: both}),
        "streams": Outcome({FAN_OUT: both}),
        "tracing": Outcome({CALL_32: few}, {"tracing 100 %": Arrived(1000, 3000)}),
        "stores": Outcome({CALL_32: few}),
        "cores": Outcome({CALL_32: few}),
        "memory": Outcome(
            {MEMORY_BEFORE: both, MEMORY_AFTER: both}, opened={OURS: 10_000, SDK_JSON: 9_000}
        ),
        "tunnel": Outcome({ECHO_32: arms(BARE, TUNNEL)}),
        "propagation": Outcome({ECHO_32: arms(BARE, INTERCEPTED)}),
    }


def test_a_page_has_each_bench_with_median_and_spread(tmp_path: Path) -> None:
    text = page(everything(), Plan(tmp_path), ["Measured somewhere."])
    assert "Measured somewhere." in text
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles[0] == "The aims"
    assert len(titles) == 1 + len(everything())
    row = "| tools/list, 32 at once | Linkspan, JSON | 200 (100 to 300) | 1.00 (1.00 to 1.00) |"
    assert row in text
    assert "| MCP SDK, JSON | 9,000 | 200 | 200 | 0 |" in text
    assert "3,000 spans of 1,000 requests" in text.replace("\n", " ")
    assert all(len(line) <= 118 for line in text.splitlines() if not line.startswith(("|", "!")))


def test_every_chart_that_a_page_shows_is_drawn(tmp_path: Path) -> None:
    found, plan = everything(), Plan(tmp_path)
    shown = set(re.findall(r"\]\(bench/(.*?)\)", page(found, plan, [])))
    drawn = charts({name: outcome.loads for name, outcome in found.items()})
    assert shown == set(drawn)
    for _, _, picture in drawn.values():
        ET.fromstring(picture)  # noqa: S314 - our own


def test_a_bar_is_as_long_as_its_figure_and_reaches_no_further_than_the_chart() -> None:
    bars = [Bar("a <b>", 10, 5, 20, "10", ours=True), Bar("c", 20, 20, 20, "20", ours=False)]
    root = ET.fromstring(bar_chart('x & "y"', bars))  # noqa: S314 - our own
    assert root.get("aria-label") == 'x & "y"'
    paths = [(each.get("class"), each.get("d", "")) for each in root.iter(f"{SVG}path")]
    drawn = [d for kind, d in paths if kind in {"bar", "bar ours"}]
    ends = [float(re.findall(r"H([\d.]+)", each)[0]) for each in drawn]
    start = float(drawn[0][1:].split()[0])
    assert ends[1] - start == pytest.approx(2 * (ends[0] - start), abs=0.2)
    ticks = [float(each.get("x1", "0")) for each in root.iter(f"{SVG}line")]
    assert (ticks[0], ticks[-1]) == (start, ends[1])  # 0 and 20
    spreads = [d for kind, d in paths if kind == "spread"]
    assert len(spreads) == 1  # one figure has none
    least, greatest = float(re.findall(r"M([\d.]+)", spreads[0])[0]), ends[1]
    assert least == pytest.approx(start + (ends[0] - start) / 2, abs=0.2)
    assert f"H{greatest:.1f}" in spreads[0]
    assert greatest <= float(root.get("width", "0"))


@pytest.mark.parametrize(
    ("greatest", "step"),
    [(0, 1), (3.9, 1), (4.1, 2), (0.07, 0.02), (2100, 1000), (18, 5), (33, 10)],
)
def test_ticks_are_round(greatest: float, step: float) -> None:
    assert step_of(greatest) == pytest.approx(step)


def test_arms_take_turns_forwards_and_backwards() -> None:
    assert list(interleaved("abc", 3)) == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]]


def test_a_quick_run_is_smaller_in_everything(tmp_path: Path) -> None:
    whole, quick = Plan(tmp_path), quick_plan(tmp_path)
    assert quick.rounds < whole.rounds
    assert quick.seconds < whole.seconds
    assert quick.streams < whole.streams
    assert whole.for_regression().rounds > quick.for_regression().rounds > whole.rounds


def test_folders_are_new_each_time(tmp_path: Path) -> None:
    plan = Plan(tmp_path)
    assert plan.folder("data") != plan.folder("data")


def test_what_can_be_measured_has_a_place_on_the_page(tmp_path: Path) -> None:
    assert set(everything()) | {"calls"} == set(BENCHES)
    assert page({}, Plan(tmp_path), []).startswith("# Linkspan and its peers")
